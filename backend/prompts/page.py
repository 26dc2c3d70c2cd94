"""The prompt page: the state in its address, and its context.

Shapes: L tokens of the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from backend.attribution.section import AttributionSection
from backend.engine.limits import MAX_PROMPT_CHARACTERS
from backend.engine.messages import PromptReading, values_of
from backend.html.address import Address, ShortFloat
from backend.html.formats import number, share
from backend.html.page import Link, Page
from backend.html.tokens import level, standing_alone, text_direction, token_texts
from backend.prompts.ranking import RANKS, ActiveFeature, Rank, gather, rank
from backend.prompts.store import is_long
from backend.published.cards import metric_text
from backend.published.catalogue import OpenSAE
from backend.published.features import FeatureSummary
from backend.published.lookup import best_reading
from backend.web.live import Answer, Problem

MAX_SAES = 8
SHOWN_OF_TOKEN = 24
SHOWN_OVERALL = 24
HIDE_CHOICES = (0.01, 0.05, 0.2, 1.0)
"""Features active on more than this share of the corpus's tokens are hidden; 1 shows all."""
EXAMPLE_PROMPTS = (
    "He studied at the University of Oxford before the war.",
    "The river flows north through the valley towards the sea.",
    "Her third album was released in September 1998.",
)


class PromptState(Address):
    """The query string of the prompt page, and its form."""

    path = "/prompt"
    always = ("hide",)

    text: str = ""
    """Not in the address when it is stored."""
    p: str = ""
    """Id of the text, where it is stored."""
    sae: list[str] = Field(default=[], max_length=MAX_SAES)
    """model/name each."""
    chat: bool = False
    rank: Rank = "max"
    hide: ShortFloat = Field(default=1.0, ge=0, le=1)
    mixed: bool = False
    """Whether features that say little are ranked like the others; otherwise they come last."""
    f: str = ""
    """model/sae/index of the feature whose activations colour the tokens."""
    token: int | None = Field(default=None, ge=0)
    """Number of the token whose features are listed; the last that counts by default."""

    @property
    def long(self) -> bool:
        """Whether the text is too long for an address and not stored."""
        return not self.p and is_long(self.text)

    def pairs(self) -> list[tuple[str, str]]:
        return [pair for pair in super().pairs() if not self.p or pair[0] != "text"]


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
    caption: str
    """Label of its strongest feature, or the chosen feature's activation."""
    about: str
    """Its id and what is active, in a line."""
    href: str
    """Lists its features."""
    current: bool


@dataclass(frozen=True)
class PromptResult:
    """The features that a prompt activates."""

    tokens: list[PromptToken]
    direction: str
    """ltr or rtl, as most of the letters are."""
    num_counted: int
    """Tokens that are not left out."""
    scale: float
    """Value at the end of the highlight's scale: the chosen feature's highest; 0 when shares are shown."""
    overall: list[ActiveFeature]
    total: int
    """Distinct active features, hidden ones left out."""
    hidden: int
    num_common: int
    """Of those shown, the ones that are active too often or at the start of texts to say much."""
    switch: str
    """The address that ranks these like the others, or last again."""
    token: PromptToken
    """The chosen token."""
    token_features: list[ActiveFeature]
    token_total: int
    """Features active on it."""
    series_of: dict[str, int]
    """Colours of the SAEs by name."""


@dataclass(frozen=True)
class SAEChoice:
    """An SAE to read with."""

    value: str
    """model/name"""
    name: str
    series: int
    chosen: bool
    best: str
    """The explained variance, of the SAE of the run that has the highest; else ""."""


@dataclass(frozen=True)
class PromptPage(Page):
    """prompts/prompt.html: type text, see which features are active."""

    off: str
    """The reason why the model is not available; "" when it is."""
    loaded: bool
    """Whether the model is in memory: otherwise the first answer waits for it to load."""
    problem: Problem | None
    """The reason why this prompt was not read."""
    model_name: str
    """Of the language model."""
    state: PromptState
    saes: list[SAEChoice]
    """The SAEs of the run."""
    runs: list[Link]
    """The same prompt in other runs."""
    ranks: list[Link]
    """Ways to rank: `text` is shown, `href` is the value."""
    rank_about: str
    """The explanation of the chosen ranking."""
    hides: list[Link]
    """Choices of `hide`, likewise."""
    max_tokens: int
    max_characters: int
    """Of a text."""
    focus: FeatureSummary | None
    """The chosen feature."""
    result: PromptResult | None
    attribution: AttributionSection | None
    """The features that caused an output; None without a result."""
    examples: list[Link]
    """Prompts to start from."""


Focus = tuple[OpenSAE, FeatureSummary]
"""The feature whose activations colour the tokens."""


def prompt_page_of(
    state: PromptState,
    saes: Sequence[OpenSAE],
    runs: list[Link],
    max_tokens: int,
    focus: FeatureSummary | None,
    answer: Answer[Any],
    result: PromptResult | None,
    attribution: AttributionSection | None,
) -> PromptPage:
    """The page's context."""
    plain = Link("Read it as plain text", state.href(chat=False)) if state.chat else None
    return PromptPage(
        off=answer.off,
        loaded=answer.loaded,
        problem=answer.problem(state.href(), plain),
        model_name=saes[0].run.model_name,
        state=state,
        saes=sae_choices(saes),
        runs=runs,
        ranks=rank_links(state.rank),
        rank_about=RANKS[state.rank][1],
        hides=hide_links(state.hide),
        max_tokens=max_tokens,
        max_characters=MAX_PROMPT_CHARACTERS,
        focus=focus,
        result=result,
        attribution=attribution,
        examples=[Link(text, state.href(text=text, p="", token=None)) for text in EXAMPLE_PROMPTS],
    )


def prompt_result_of(
    state: PromptState, saes: Sequence[OpenSAE], reading: PromptReading, focus: Focus | None
) -> PromptResult:
    """A reading as the page shows it."""
    ranking = rank(gather(saes, reading), state.rank, state.hide, common_last=not state.mixed)
    current = _current(state.token, reading.left_out)
    strongest_L = [features[0] if features else None for features in ranking.by_token(1)]
    if focus:
        values = values_of(focus[0], reading, focus[1].index)
        highlights = [_highlight_by_focus(focus[1], value) for value in values]
    else:
        highlights = [_highlight_by_strongest(strongest) for strongest in strongest_L]
    texts = token_texts(reading.pieces)
    tokens = [
        PromptToken(
            number=place,
            text=standing_alone(shown),
            mark=shown.mark,
            left_out=reading.left_out[place],
            level=step,
            caption=caption,
            about=f"token {place}, id {reading.tokens[place]}: {'left out' if reading.left_out[place] else about}",
            href=state.href(token=place),
            current=place == current,
        )
        for place, (shown, (step, caption, about)) in enumerate(zip(texts, highlights, strict=True))
    ]
    listed, total = ranking.of_token(current, SHOWN_OF_TOKEN)
    return PromptResult(
        tokens=tokens,
        direction=text_direction("".join(shown.text for shown in texts)),
        num_counted=reading.left_out.count(False),
        scale=focus[1].max if focus else 0.0,
        overall=ranking.overall(SHOWN_OVERALL),
        total=ranking.total,
        hidden=ranking.hidden,
        num_common=ranking.num_common,
        switch=state.href(mixed=not state.mixed),
        token=tokens[current],
        token_features=listed,
        token_total=total,
        series_of={sae.name: sae.record.position for sae in saes},
    )


def _current(asked: int | None, left_out: Sequence[bool]) -> int:
    """The number of the token whose features are listed: the last that counts unless another is asked for."""
    if asked is not None and asked < len(left_out):
        return asked
    return max((number for number, out in enumerate(left_out) if not out), default=len(left_out) - 1)


def _highlight_by_focus(focus: FeatureSummary, value: float) -> tuple[int, str, str]:
    """Highlight, caption and description of a token, by one feature's activation."""
    shown = number(value) if value > 0 else ""
    return level(value, focus.max), shown, f"{focus.title} {shown or 'is not active'}"


def _highlight_by_strongest(strongest: ActiveFeature | None) -> tuple[int, str, str]:
    """Highlight, caption and description of a token, by its strongest feature."""
    if strongest is None:
        return -1, "", "no feature shown is active"
    title = strongest.feature.title
    about = f"{title} {number(strongest.activation)}, {share(strongest.share, 2)} of its max"
    return level(strongest.share, 1.0), title, about


def sae_choices(chosen: Sequence[OpenSAE]) -> list[SAEChoice]:
    """The SAEs of the run, for a row of boxes."""
    names, run = {sae.name for sae in chosen}, chosen[0].run
    best = metric_text(best_reading(run), "explained_variance") if len(run.saes) > 1 else None
    return [
        SAEChoice(
            value=sae.href[1:],
            name=sae.name,
            series=sae.record.position,
            chosen=sae.name in names,
            best=best or "" if sae is best_reading(run) else "",
        )
        for sae in run.saes
    ]


def rank_links(chosen: Rank) -> list[Link]:
    """Ways to rank, for a select."""
    return [Link(title, value, value == chosen) for value, (title, _) in RANKS.items()]


def hide_links(chosen: float) -> list[Link]:
    """Choices of what is hidden, for a select."""
    names = {value: f"on more than {value:.0%} of tokens" for value in HIDE_CHOICES} | {1.0: "none"}
    if chosen not in names:
        names[chosen] = f"on more than {share(chosen, 2)} of tokens"
    return [Link(name, f"{value:g}", value == chosen) for value, name in sorted(names.items())]
