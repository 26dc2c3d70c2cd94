"""The attribution section of the prompt page: which features caused an output."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from starlette.concurrency import run_in_threadpool

from backend.attribution.ranking import MAX_ABLATIONS, AttributedFeature, SAEAttributions, join
from backend.attribution.readings import signed_step
from backend.engine.engine import Engine
from backend.engine.messages import LikelyToken, Outcome, Prompt, Question, TokenChoice
from backend.exceptions import RefusedError, UnknownTokenError
from backend.html.address import Address
from backend.html.page import Link
from backend.html.tokens import standing_alone, token_text, token_texts
from backend.published.catalogue import OpenSAE
from backend.published.features import FeatureSummary

By = Literal["attribution", "effect", "activation"]
SORTS: dict[By, str] = {"attribution": "attribution", "effect": "effect of ablation", "activation": "activation"}
ATTRIBUTIONS_SHOWN = 25
"""Features of a table."""
LIKELY_SHOWN = 8
"""Next tokens offered as targets."""
K_CHOICES = (20, 50, 100, 200)


class AttributionState(Address):
    """The attribution parameters in the address of a prompt page."""

    always = ("target",)

    target: str | None = Field(default=None, max_length=200)
    """See Question; None leaves the part closed, "" offers targets."""
    minus: str = Field(default="", max_length=200)
    k: int = Field(default=50, ge=0, le=MAX_ABLATIONS)
    position: Annotated[int | Literal[""] | None, AfterValidator(lambda given: None if given == "" else given)] = None
    """See Question; empty in a form where none was chosen."""
    by: By = "attribution"
    all: bool = False
    """List all features with a computed effect, not only the first ones."""

    @property
    def question(self) -> Question:
        """For the engine."""
        return Question(self.target or "", self.minus, self.place, self.k)

    @property
    def place(self) -> int | None:
        """`position` as a number."""
        return self.position if isinstance(self.position, int) else None


@dataclass(frozen=True)
class LikelyTarget:
    """A likely next token, to choose as a target."""

    text: str
    probability: float
    href: str
    current: bool


@dataclass(frozen=True)
class OtherTarget:
    """A token that may have been meant in place of what was typed."""

    text: str
    href: str


@dataclass(frozen=True)
class AttributionRow:
    """A feature in a table."""

    feature: FeatureSummary
    activation: float
    activation_rank: int
    where: str
    """The token where it is strongest."""
    attribution: float
    attribution_rank: int
    attribution_step: int
    """Of colour, see examples.signed_step."""
    effect: float | None
    effect_rank: int | None
    effect_step: int


@dataclass(frozen=True)
class AttributionTable:
    """The features of one SAE."""

    sae: str
    total: int
    """Active features."""
    ablated: int
    correlation: float | None
    listed: int
    """Features that can be listed: the ablated ones and the most active."""
    rows: list[AttributionRow]


@dataclass(frozen=True)
class AttributionSection:
    """attribution/_attribution.html: which features caused an output."""

    open_href: str
    """The address that opens it."""
    close_href: str
    state: AttributionState
    hidden: list[tuple[str, str]]
    """The prompt's parameters, as hidden fields of the form."""
    positions: list[Link]
    """Tokens after which the target may come; `href` is the number, "" the last."""
    ks: list[Link]
    """Choices of `k`, likewise."""
    likely: list[LikelyTarget] = field(default_factory=list)
    others: list[OtherTarget] = field(default_factory=list)
    """Tokens that are written nearly as the target, or as what was typed in its place."""
    minus_others: list[OtherTarget] = field(default_factory=list)
    """The same of `minus`."""
    problem: str = ""
    target: str = ""
    """As shown."""
    minus: str = ""
    after: str = ""
    """The token after which it comes."""
    value: float = 0.0
    sorts: list[Link] = field(default_factory=list)
    all_href: str = ""
    """The address that lists all."""
    tables: list[AttributionTable] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return self.state.target is not None


class SectionBuilder:
    """Makes the section for one prompt."""

    def __init__(self, base: Address, state: AttributionState, pieces: Sequence[bytes]) -> None:
        """base: of the prompt page without attribution; pieces: its tokens' bytes."""
        self._base, self.state = base, state
        self._names = [standing_alone(shown) for shown in token_texts(pieces)]

    def section(
        self,
        likely: Sequence[LikelyToken] = (),
        outcome: Outcome | None = None,
        found: Sequence[SAEAttributions] = (),
        problem: str = "",
        others: Sequence[TokenChoice] = (),
        minus_others: Sequence[TokenChoice] = (),
    ) -> AttributionSection:
        """The section, with the results. others, minus_others: tokens that may have been meant."""
        state, names = self.state, self._names
        last = len(names) - 1
        positions = [Link(f"{n} {text}", str(n), n == state.position) for n, text in enumerate(names)]
        return AttributionSection(
            open_href=self._href(AttributionState(target="")),
            close_href=self._base.href() + "#attribution",
            state=state,
            hidden=self._base.pairs(),
            positions=[Link("the last", "", state.position is None), *positions],
            ks=[Link(str(k), str(k), k == state.k) for k in sorted({*K_CHOICES, state.k})],
            likely=[self._likely(one) for one in likely],
            others=[self._other(one, "target") for one in others],
            minus_others=[self._other(one, "minus") for one in minus_others],
            problem=problem,
            target=token_text(outcome.target_piece) if outcome else "",
            minus=token_text(outcome.minus_piece) if outcome and outcome.minus is not None else "",
            after=names[outcome.position if outcome else last],
            value=outcome.value if outcome else 0.0,
            sorts=[Link(text, self._href(state.changed(by=by)), by == state.by) for by, text in SORTS.items()],
            all_href=self._href(state.changed(all=True)),
            tables=[_table(one, state, names) for one in found],
        )

    def _likely(self, one: LikelyToken) -> LikelyTarget:
        state, name = self.state, f"#{one.token}"
        href = self._href(state.changed(target=name))
        return LikelyTarget(token_text(one.piece), one.probability, href, state.target == name)

    def _other(self, one: TokenChoice, name: Literal["target", "minus"]) -> OtherTarget:
        return OtherTarget(token_text(one.piece), self._href(self.state.changed(**{name: f"#{one.token}"})))

    def _href(self, state: AttributionState) -> str:
        """The address of the section in a state: of its answer, where something is asked."""
        return self._base.href(state) + ("#answer" if state.target else "#attribution")


async def explain(
    engine: Engine, saes: Sequence[OpenSAE], prompt: Prompt, builder: SectionBuilder
) -> AttributionSection:
    """The section for a prompt that has been read. An invalid target becomes its `problem`."""
    state, run = builder.state, saes[0].run
    if state.target is None:
        return builder.section()
    try:
        likely = await engine.likely(run, prompt, state.place, LIKELY_SHOWN)
    except RefusedError as error:
        return builder.section(problem=str(error))
    if not state.target:
        return builder.section(likely)
    try:
        outcome = await engine.explain(saes, prompt, state.question)
    except UnknownTokenError as error:
        choices = [TokenChoice(*one) for one in error.choices]
        if error.typed == state.target:
            return builder.section(likely, problem=str(error), others=choices)
        return builder.section(likely, problem=str(error), minus_others=choices)
    except RefusedError as error:
        return builder.section(likely, problem=str(error))
    found = await run_in_threadpool(
        lambda: [join(sae, outcome.attributed[sae.name], ATTRIBUTIONS_SHOWN) for sae in saes]
    )
    return builder.section(likely, outcome, found, others=outcome.others, minus_others=outcome.minus_others)


def _table(found: SAEAttributions, state: AttributionState, names: Sequence[str]) -> AttributionTable:
    keys: dict[By, Callable[[AttributedFeature], int]] = {
        "attribution": lambda one: one.attribution_rank,
        "effect": lambda one: one.effect_rank or len(found.features) + one.attribution_rank,
        "activation": lambda one: one.activation_rank,
    }
    chosen: list[AttributedFeature] = sorted(found.features, key=keys[state.by])
    listed = len(chosen)
    chosen = chosen if state.all else chosen[:ATTRIBUTIONS_SHOWN]
    scale = max((abs(one.attribution) for one in chosen), default=0.0)
    effect_scale = max((abs(one.effect or 0.0) for one in chosen), default=0.0)
    rows = [
        AttributionRow(
            feature=one.feature,
            activation=one.activation,
            activation_rank=one.activation_rank,
            where=names[one.token],
            attribution=one.attribution,
            attribution_rank=one.attribution_rank,
            attribution_step=signed_step(one.attribution, scale),
            effect=one.effect,
            effect_rank=one.effect_rank,
            effect_step=signed_step(one.effect or 0.0, effect_scale),
        )
        for one in chosen
    ]
    sae = found.sae.rpartition("/")[2]
    return AttributionTable(sae, found.total, found.ablated, found.correlation, listed, rows)
