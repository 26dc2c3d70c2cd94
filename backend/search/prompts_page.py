"""The page of a search by prompts: the state in its address, and its context."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from pydantic import Field

from backend.html.address import Address, ShortFloat
from backend.html.formats import share
from backend.html.page import Link, Page
from backend.html.tokens import level, visible_text
from backend.prompts.page import SAEChoice
from backend.prompts.state import PromptState
from backend.prompts.store import is_long
from backend.search.prompts import MATCH_ORDERS, Criteria, Found, Match, MatchOrder, Step
from backend.search.topics import MAX_TOPIC, MAX_TOPIC_PROMPTS
from backend.web.live import Problem

MAX_PROMPTS = 16
"""Of each kind."""
MATCHES_SHOWN = 100
EXCERPT = 80
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
"""Thresholds to choose from."""
COUNTS = (3, 5, MAX_TOPIC_PROMPTS)
"""Choices for the number of prompts that the model writes."""
EXAMPLE_SEARCH = (
    ("The university was founded in 1842.", "She teaches chemistry at a small college in Ohio."),
    ("The river flows north through the valley.", "He scored twice in the second half."),
)
"""Positive and negative prompts to start from."""


class SearchForm(Address):
    """The form of the page, and its query string."""

    path = "/search"

    pos: list[str] = Field([], max_length=2 * MAX_PROMPTS)
    """Positive prompts."""
    pos_p: list[str] = Field([], max_length=MAX_PROMPTS)
    """Ids of stored ones, after those in `pos`."""
    neg: list[str] = Field([], max_length=2 * MAX_PROMPTS)
    neg_p: list[str] = Field([], max_length=MAX_PROMPTS)
    sae: list[str] = Field([], max_length=16)
    """model/name; without any, all of the run."""
    at_least: ShortFloat = Field(Criteria.at_least, ge=0, le=1)
    at_most: ShortFloat = Field(Criteria.at_most, ge=0, le=1)
    hide: ShortFloat = Field(Criteria.hide, ge=0, le=1)
    minor: bool = False
    """Rare and negligible features too."""
    order: MatchOrder = "rare"
    chat: bool = False
    topic: str = Field("", max_length=MAX_TOPIC)
    k: int = Field(5, ge=1, le=MAX_TOPIC_PROMPTS)
    seed: int = Field(0, ge=0, lt=2**31)
    edit: bool = False
    """Show the prompts for editing, without searching."""

    @property
    def criteria(self) -> Criteria:
        return Criteria(self.at_least, self.at_most, self.hide)

    def pairs(self) -> list[tuple[str, str]]:
        return [("by", "prompts"), *super().pairs()]


@dataclass(frozen=True)
class SearchPrompt:
    """A prompt of a search."""

    text: str
    id: str = ""
    """Its id when it is stored; "" when it stands in the address."""

    @property
    def excerpt(self) -> str:
        """Its beginning in one line."""
        line = visible_text(" ".join(self.text.split()))
        return line if len(line) <= EXCERPT else line[: EXCERPT - 1].rstrip() + "…"


@dataclass(frozen=True)
class SearchState:
    """The state of the page in its address."""

    positive: tuple[SearchPrompt, ...]
    negative: tuple[SearchPrompt, ...]
    form: SearchForm
    """The rest of the state."""

    def with_form(self, **changes: object) -> Self:
        """The same with some of the form changed."""
        return replace(self, form=self.form.changed(**changes))

    def without(self, step: Step) -> Self:
        """The same without one prompt."""
        if step.positive:
            return replace(self, positive=_without(self.positive, step.place))
        return replace(self, negative=_without(self.negative, step.place))

    def href(self, **changes: object) -> str:
        """Its address; `edit` is kept only when it is asked for."""
        prompts = {}
        for name, entries in (("pos", self.positive), ("neg", self.negative)):
            prompts[name] = [entry.text for entry in entries if not entry.id]
            prompts[f"{name}_p"] = [entry.id for entry in entries if entry.id]
        return self.form.href(**prompts, **{"edit": False, **changes})

    @property
    def texts(self) -> list[str]:
        return [entry.text for entry in (*self.positive, *self.negative)]

    @property
    def long(self) -> bool:
        """Whether the texts that are not stored are too long for an address."""
        return is_long(*(entry.text for entry in (*self.positive, *self.negative) if not entry.id))


def _without(entries: tuple[SearchPrompt, ...], place: int) -> tuple[SearchPrompt, ...]:
    return entries[:place] + entries[place + 1 :]


@dataclass(frozen=True)
class StepView:
    """The effect of one prompt, as the page shows it."""

    entry: SearchPrompt
    step: Step
    without: str
    """The address of the search without it; "" when it is the only positive one."""
    read: str
    """The prompt page that reads it."""


@dataclass(frozen=True, slots=True)
class ScoreDot:
    """A feature's part in one prompt."""

    level: int
    title: str


@dataclass(frozen=True)
class MatchView:
    """A feature that was found."""

    match: Match
    positive: list[ScoreDot]
    negative: list[ScoreDot]
    see: str
    """The prompt page that shows where it is active in the first positive prompt."""


@dataclass(frozen=True)
class PromptSearchResult:
    """The result of a search by prompts, as the page shows it."""

    found: Found
    steps: list[StepView]
    matches: list[MatchView]
    next_steps: list[Link]
    """Links to changed searches, with the number of features each would find; only when nothing was found."""


@dataclass(frozen=True)
class PromptSearchPage(Page):
    """search/prompt_search.html: features active in all of some prompts and in none of others."""

    tabs: list[Link]
    off: str
    """The reason why the model is not available; "" when it is."""
    loaded: bool
    """Whether the model is in memory."""
    problem: Problem | None
    note: str
    """A note on prompts that the model wrote."""
    state: SearchState
    max_characters: int
    """Of a prompt."""
    max_topic: int
    """Of a topic, in characters."""
    saes: list[SAEChoice]
    at_least: list[Link]
    """Choices of `at_least`: `text` is shown, `href` is the value."""
    at_most: list[Link]
    """Of `at_most`, likewise."""
    hides: list[Link]
    orders: list[Link]
    order_about: str
    counts: list[Link]
    """Choices for the number of prompts that the model writes."""
    next_seed: int
    """With which the model would write other prompts."""
    result: PromptSearchResult | None
    series_of: dict[str, int]
    """Colours of the SAEs by name."""
    example: str
    """The address of a search to start from."""


def prompt_search_result_of(state: SearchState, saes: Sequence[str], found: Found) -> PromptSearchResult:
    """A result as the page shows it. saes: model/name of those that were searched."""
    entries = (*state.positive, *state.negative)
    steps = [
        StepView(
            entry=entry,
            step=step,
            without="" if step.without is None else state.without(step).href(),
            read=_prompt_state(state, entry, saes).href(),
        )
        for entry, step in zip(entries, found.steps, strict=True)
    ]
    first = _prompt_state(state, state.positive[0], saes)
    matches = [
        MatchView(
            match=match,
            positive=[_score_dot(entry, value) for entry, value in zip(state.positive, match.positive, strict=True)],
            negative=[_score_dot(entry, value) for entry, value in zip(state.negative, match.negative, strict=True)],
            see=first.href(f=match.feature.name),
        )
        for match in found.matches
    ]
    return PromptSearchResult(found, steps, matches, [] if found.total else _next_steps(state, found))


def _next_steps(state: SearchState, found: Found) -> list[Link]:
    """Links to every single change that finds something, the fewest results first."""
    steps = []
    for relaxed in found.relaxed:
        changes = {name: value for name, value in vars(relaxed.criteria).items() if value != getattr(state.form, name)}
        text = " and ".join(_change_text(name, value) for name, value in changes.items())
        steps.append((relaxed.total, Link(f"{text}: {relaxed.total:,}", state.href(**changes))))
    for step in found.steps:
        if step.without:
            kind = "positive" if step.positive else "negative"
            text = f"Without {kind} prompt {step.place + 1}: {step.without:,}"
            steps.append((step.without, Link(text, state.without(step).href())))
    return [link for _, link in sorted(steps, key=lambda step: step[0])]


def _change_text(name: str, value: float) -> str:
    if name == "hide":
        return "With features that are active too often"
    return (
        f"At least {share(value, 2)} in the positive"
        if name == "at_least"
        else f"Up to {share(value, 2)} in the negative"
    )


def _prompt_state(state: SearchState, entry: SearchPrompt, saes: Sequence[str]) -> PromptState:
    text = "" if entry.id else entry.text
    return PromptState().changed(text=text, p=entry.id, sae=list(saes), chat=state.form.chat, hide=state.form.hide)


def _score_dot(entry: SearchPrompt, value: float) -> ScoreDot:
    return ScoreDot(level(value, 1.0), f"{share(value, 2)} in “{entry.excerpt}”")


def share_links(chosen: float, zero: bool) -> list[Link]:
    """Thresholds for a select; zero: whether none at all is one of them."""
    values = sorted({*SHARES, chosen, *([0.0] if zero else [])})
    return [Link(f"{share(value, 2)} of max" if value else "0", f"{value:g}", value == chosen) for value in values]


def order_links(chosen: MatchOrder) -> list[Link]:
    """Orders for a select."""
    return [Link(title, value, value == chosen) for value, (title, _) in MATCH_ORDERS.items()]


def count_links(chosen: int) -> list[Link]:
    """Numbers of prompts for a select."""
    return [Link(str(k), str(k), k == chosen) for k in sorted({*COUNTS, chosen})]
