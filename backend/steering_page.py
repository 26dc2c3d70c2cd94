"""The steering page: its form, and what it shows of what was written."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlencode

from pydantic import BaseModel, Field

from backend.catalogue import Library
from backend.contexts import Page
from backend.live import Ended, Finished, RefusedError, SteerEvent, Written
from backend.queries import FeatureSummary
from backend.steering import MAX_FEATURES, ROWS, Chip, SteerBody, SteeredFeature, parse_argument, parse_strength
from backend.tokens import level

MAX_TEXT = 20_000
START = 2.0
"""Strength of a feature that was just added."""
ENDINGS = {
    "stop": "The model ended its text.",
    "length": "",
    "cancelled": "Stopped.",
    "broken": "The model's output is no longer finite under these strengths: use weaker ones.",
}


class SteerForm(BaseModel):
    """The form of the steering page, and its query string."""

    f: list[str] = Field([], max_length=32, description="model/sae/index:strength; an empty one is ignored")
    s: list[str] = Field([], max_length=32, description="strengths of the features in `f`, when they were changed")
    prompt: str = Field("I am a", max_length=MAX_TEXT)
    chat: bool = False
    temperature: float = Field(0.7, ge=0, le=2)
    top_p: float = Field(0.9, gt=0, le=1)
    new_tokens: int = Field(48, ge=1)
    seed: int = Field(0, ge=0, lt=2**63)

    def href(self, chips: Sequence[Chip]) -> str:
        """The address of the form with other features."""
        values = self.model_dump(exclude_defaults=True, exclude={"f", "s"}, mode="json")
        return "/steer?" + urlencode([*(("f", chip.argument) for chip in chips), *values.items()])


@dataclass(frozen=True)
class SteerToken:
    """A token of a text that was written."""

    text: str
    level: int
    """Highlight of the baseline: the most active of the steered features, as a share of its highest; -1 for none."""
    title: str
    """Probability and activations, in words."""


@dataclass
class SteerColumn:
    """One text."""

    title: str
    prompt: list[SteerToken] = field(default_factory=list)
    written: list[SteerToken] = field(default_factory=list)
    ending: str = ""
    """Why it ended; "" when it has the length that was asked for."""


@dataclass
class Outcome:
    """What became of a form."""

    chips: list[Chip]
    problem: str = ""
    columns: list[SteerColumn] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    async def collect(cls, chips: list[Chip], events: AsyncIterator[SteerEvent]) -> Self:
        """All that a request brings."""
        outcome = cls(chips, columns=[SteerColumn(title) for title in ROWS])
        async for event in events:
            if isinstance(event, Written):
                column = outcome.columns[event.row]
                (column.prompt if event.probability is None else column.written).append(_token(event, chips))
            elif isinstance(event, Ended):
                outcome.columns[event.row].ending = ENDINGS[event.reason]
            elif isinstance(event, Finished):
                outcome.seconds = event.seconds
        return outcome


@dataclass(frozen=True)
class SteerPage(Page):
    """steer.html: features with strengths, a prompt, and the baseline beside the steered text."""

    off: str
    """Why the model cannot be asked; "" when it can."""
    form: SteerForm
    outcome: Outcome
    removals: list[str]
    """For each feature, the address without it."""
    suggestions: list[tuple[FeatureSummary, str]]
    """Features to start with, and the address with each."""
    max_features: int
    max_new_tokens: int


def make_page(
    form: SteerForm, outcome: Outcome, off: str, suggestions: Sequence[FeatureSummary], max_new_tokens: int
) -> SteerPage:
    """The page's context."""
    chips = outcome.chips
    named = {chip.feature.name for chip in chips}
    return SteerPage(
        off=off,
        form=form,
        outcome=outcome,
        removals=[form.href([other for other in chips if other is not chip]) for chip in chips],
        suggestions=[(s, form.href([*chips, Chip(s, START)])) for s in suggestions if s.name not in named],
        max_features=MAX_FEATURES,
        max_new_tokens=max_new_tokens,
    )


def read_chips(library: Library, form: SteerForm) -> tuple[list[Chip], str]:
    """The features of a form, and a message that names those that cannot be read."""
    chips: list[Chip] = []
    problems: list[str] = []
    for place, argument in enumerate(form.f):
        if not argument.strip():
            continue
        try:
            chip = parse_argument(library, argument, START)
            chips.append(Chip(chip.feature, parse_strength(form.s[place])) if place < len(form.s) else chip)
        except RefusedError as error:
            problems.append(str(error))
    if len(chips) > MAX_FEATURES:
        problems.append(f"At most {MAX_FEATURES} features are steered at once; the first {MAX_FEATURES} are kept.")
    return chips[:MAX_FEATURES], " ".join(problems)


def to_body(form: SteerForm, chips: Sequence[Chip]) -> SteerBody:
    """The form as a program would ask it."""
    return SteerBody(
        features=[SteeredFeature(feature=chip.feature.name, strength=chip.strength) for chip in chips],
        prompt=form.prompt,
        chat=form.chat,
        temperature=form.temperature,
        top_p=form.top_p,
        max_new_tokens=form.new_tokens,
        seed=form.seed,
    )


def _token(event: Written, chips: Sequence[Chip]) -> SteerToken:
    values = [f"{c.feature.title}: {value:.3g}" for c, value in zip(chips, event.activations, strict=True)]
    title = "left out" if event.left_out else " · ".join(values)
    if event.probability is not None:
        title = f"p {event.probability:.2g} · {title}"
    shares = [value / c.feature.max for c, value in zip(chips, event.activations, strict=True)]
    return SteerToken(event.text, level(max(shares, default=0.0), 1.0) if event.row == 0 else -1, title)
