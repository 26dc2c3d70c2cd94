"""What a prompt activates, as pages and programs see it: the engine's reading joined with what is published.

Shapes: L tokens of the prompt, K activations above zero, U distinct active features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.catalogue import Library, OpenSAE
from backend.contexts import Link, Page
from backend.live import Reading, RefusedError
from backend.queries import FeatureSummary, get_summaries
from backend.templates import query
from backend.tokens import level, token_texts

STRONGEST_OF_TOKEN = 12
STRONGEST_OVERALL = 40
HIDE_CHOICES = (0.01, 0.05, 0.2, 1.0)
"""Features active on more than this share of the corpus's tokens are hidden; 1 shows all."""


@dataclass(frozen=True, slots=True)
class ActiveFeature:
    """A feature that is active on a prompt."""

    feature: FeatureSummary
    activation: float
    """On the token it is listed for, or its highest in the prompt."""
    share: float
    """Of its highest activation in the corpus."""
    token: int
    """Number of the token on which it has this activation."""


@dataclass(frozen=True)
class Ranking:
    """The active features of one SAE, strongest first."""

    overall: list[ActiveFeature]
    """By highest activation in the prompt; the first STRONGEST_OVERALL."""
    by_token: list[list[ActiveFeature]]
    """For each token, its first STRONGEST_OF_TOKEN."""
    total: int
    """Distinct active features, hidden ones left out."""
    hidden: int
    """Active features that are nearly always on."""


def rank(sae: OpenSAE, reading: Reading, hide: float) -> Ranking:
    """Order what is active; features with a density above `hide` are left out."""
    active = reading.active[sae.name]
    feature_U, place_K = np.unique(active.feature_K, return_inverse=True)
    rows = [sae.row(int(feature)) for feature in feature_U]
    density_U = np.asarray(sae.run.tables.take("features", rows, ["density"])["density"].to_numpy(), np.float64)
    shown_U = density_U <= hide
    strongest_K = np.argsort(-active.value_K, kind="stable")
    strongest_K = strongest_K[shown_U[place_K[strongest_K]]]
    first_U = strongest_K[np.sort(np.unique(place_K[strongest_K], return_index=True)[1])]
    tokens_K = [strongest_K[active.token_K[strongest_K] == t][:STRONGEST_OF_TOKEN] for t in range(len(reading.tokens))]
    overall_K = first_U[:STRONGEST_OVERALL]
    known = _summaries(sae, active.feature_K[np.concatenate([overall_K, *tokens_K])])

    def describe(chosen_K: npt.NDArray[np.int64]) -> list[ActiveFeature]:
        return [
            _active(known[int(active.feature_K[k])], float(active.value_K[k]), int(active.token_K[k])) for k in chosen_K
        ]

    return Ranking(
        overall=describe(overall_K),
        by_token=[describe(chosen_K) for chosen_K in tokens_K],
        total=int(shown_U.sum()),
        hidden=int((~shown_U).sum()),
    )


def values_of(sae: OpenSAE, reading: Reading, index: int) -> list[float]:
    """One feature's activation on every token of the prompt."""
    active = reading.active[sae.name]
    values_L = np.zeros(len(reading.tokens))
    chosen_K = active.feature_K == index
    values_L[active.token_K[chosen_K]] = active.value_K[chosen_K]
    return [float(value) for value in values_L]


def _active(feature: FeatureSummary, activation: float, token: int) -> ActiveFeature:
    return ActiveFeature(feature, activation, activation / feature.max if feature.max > 0 else 0.0, token)


def _summaries(sae: OpenSAE, indices: npt.NDArray[np.int64]) -> dict[int, FeatureSummary]:
    unique = np.unique(indices).tolist()
    return dict(zip(unique, get_summaries(sae.run, [sae.row(index) for index in unique]), strict=True))


def find_feature(library: Library, name: str) -> tuple[OpenSAE, int]:
    """SAE and index of `model/sae/index`, also as the end of a whole address. Raises RefusedError."""
    parts = name.strip().partition("?")[0].removesuffix("/").split("/")[-3:]
    sae = library.catalogue().saes.get((parts[0], parts[1])) if len(parts) == 3 else None
    if sae is None:
        raise RefusedError(f"'{name}' names no feature here: give model/sae/index, or the address of a feature's page.")
    index = parts[2]
    if not sae.has(index):
        raise RefusedError(f"{sae.name} has features 0 to {sae.num_features - 1:,}; there is no '{index}'.")
    return sae, int(index)


# ---- the page


@dataclass(frozen=True)
class PromptState:
    """What the address of a prompt page says."""

    text: str = ""
    sae: str = ""
    """model/name"""
    chat: bool = False
    f: str = ""
    """model/sae/index of the feature whose activations colour the tokens."""
    token: int | None = None
    """Number of the token whose features are listed."""
    hide: float = 0.2

    def href(self, **changes: object) -> str:
        """The address of the same page with some of it changed."""
        values = {"text": self.text, "sae": self.sae, "chat": 1 if self.chat else None, "f": self.f}
        return "/prompt" + query(**{**values, "token": self.token, "hide": f"{self.hide:g}", **changes})


@dataclass(frozen=True, slots=True)
class PromptToken:
    """One token of the prompt."""

    number: int
    text: str
    mark: str
    """As in TokenView."""
    left_out: bool
    level: int
    """Highlight: of the chosen feature, or else of the token's strongest; -1 for none."""
    value: float
    caption: str
    """Label of its strongest feature, or the chosen feature's activation."""
    href: str
    """Lists its features."""
    current: bool


@dataclass(frozen=True)
class PromptResult:
    """What a prompt activates in one SAE."""

    tokens: list[PromptToken]
    num_counted: int
    """Tokens that are not left out."""
    scale: float
    """Value at the end of the highlight's scale: the chosen feature's highest; 0 when shares are shown."""
    ranking: Ranking
    token: PromptToken | None
    """The chosen token."""
    token_features: list[ActiveFeature]


@dataclass(frozen=True)
class PromptPage(Page):
    """prompt.html: type text, see which features are active."""

    off: str
    """Why the model cannot be asked; "" when it can."""
    problem: str
    """Why this prompt was not read; "" when it was."""
    state: PromptState
    saes: list[Link]
    """To choose from: `text` is shown, `href` is model/name."""
    hides: list[Link]
    """Choices of `hide`, likewise."""
    max_tokens: int
    focus: FeatureSummary | None
    """The chosen feature."""
    result: PromptResult | None
    examples: list[Link]
    """Prompts to start from."""


def present(state: PromptState, sae: OpenSAE, reading: Reading, focus: FeatureSummary | None) -> PromptResult:
    """The page's view of a reading."""
    ranking = rank(sae, reading, state.hide)
    values = values_of(sae, reading, focus.index) if focus else []
    texts = token_texts(reading.pieces)
    tokens = []
    for number, shown in enumerate(texts):
        strongest = ranking.by_token[number][0] if ranking.by_token[number] else None
        value, caption, step = _highlight(focus, values[number] if focus else 0.0, strongest)
        current = number == state.token
        href = state.href(token=None if current else number)
        left_out = reading.left_out[number]
        tokens.append(PromptToken(number, shown.text, shown.mark, left_out, step, value, caption, href, current))
    chosen = tokens[state.token] if state.token is not None and state.token < len(tokens) else None
    return PromptResult(
        tokens=tokens,
        num_counted=reading.left_out.count(False),
        scale=focus.max if focus else 0.0,
        ranking=ranking,
        token=chosen,
        token_features=ranking.by_token[chosen.number] if chosen else [],
    )


def _highlight(focus: FeatureSummary | None, value: float, strongest: ActiveFeature | None) -> tuple[float, str, int]:
    """Value, caption and step of a token."""
    if focus is not None:
        return value, f"{value:.3g}" if value > 0 else "", level(value, focus.max)
    if strongest is None:
        return 0.0, "", -1
    return strongest.activation, strongest.feature.title, level(strongest.share, 1.0)


def choices(saes: Sequence[OpenSAE], chosen: OpenSAE) -> list[Link]:
    """SAEs for a select."""
    return [Link(f"{sae.model} / {sae.name}", sae.href[1:], sae is chosen) for sae in saes]


def hide_links(chosen: float) -> list[Link]:
    """Choices of what is hidden."""
    names = {value: f"on more than {value:.0%} of tokens" for value in HIDE_CHOICES} | {1.0: "none"}
    return [Link(name, f"{value:g}", value == chosen) for value, name in names.items()]
