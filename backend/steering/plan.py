"""Steering requests: parsed, validated, and planned as rows to write."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from backend.engine.limits import MAX_FEATURES, MAX_PROMPT_CHARACTERS
from backend.engine.messages import ChatMessage, Draw, Held, Prompt, Scope, SteeringMode
from backend.exceptions import RefusedError
from backend.published.catalogue import Library, OpenRun, OpenSAE
from backend.published.features import FeatureSummary, get_summaries
from backend.published.lookup import find_feature
from backend.steering.strengths import break_note, default_strength, strength_note, times
from backend.texts import Typed

MAX_STRENGTH = 10.0
MAX_STRENGTHS = 7
"""Of a sweep, which writes the plain text beside them."""
STRENGTHS = (0.5, 1.0, 1.5, 2.0, 3.0)
"""Those of a sweep that names none: where features were measured to turn texts without breaking them."""
MAX_TURNS = 64


class SteeredFeature(Typed):
    """A feature and how strongly it is held."""

    feature: str = Field(description="model/sae/index", max_length=200)
    strength: float | None = Field(
        None, description="Times the feature's highest activation, -10 to 10; null only measures it."
    )


class Turn(Typed):
    """A message of a chat, and the two answers that it had. Each text goes on from its own."""

    message: str = Field(max_length=MAX_PROMPT_CHARACTERS)
    baseline: str = Field(max_length=MAX_PROMPT_CHARACTERS, description="The answer without steering.")
    steered: str = Field(max_length=MAX_PROMPT_CHARACTERS, description="The answer with it.")

    def messages(self, *, steered: bool) -> list[ChatMessage]:
        """The message, and one of the answers."""
        answer = self.steered if steered else self.baseline
        return [ChatMessage("user", self.message), ChatMessage("assistant", answer)]


class SteerBody(Typed):
    """A steering request: the features, the prompt and the sampling parameters."""

    features: Annotated[list[SteeredFeature], Field(description=f"1 to {MAX_FEATURES}, all of one run.")]
    mode: SteeringMode = Field(
        default="clamp",
        description="clamp: hold at strength x max; add: add that much of the direction; ablate: take it out",
    )
    scope: Scope = Field(default="all", description="Steer at every token, or only at those written after the prompt.")
    sweep: bool = Field(
        default=False,
        description="Write a text for each of `strengths`, which all features that are not off then have.",
    )
    strengths: list[float] = Field(
        default=list(STRENGTHS), description=f"Of a sweep: 1 to {MAX_STRENGTHS} different ones, -10 to 10."
    )
    prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)]
    chat: bool = Field(False, description="Put the prompt into the model's chat template.")
    history: list[Turn] = Field(
        default=[], max_length=MAX_TURNS, description="What was said before in a chat, the first turn first."
    )
    temperature: float = Field(
        0.0, ge=0, le=2, allow_inf_nan=False, description="0 always takes the most probable token."
    )
    top_p: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)
    max_new_tokens: int = Field(48, ge=1)
    seed: int = Field(0, ge=0, lt=2**63, description="Baseline and steered text draw the same random numbers.")


@dataclass(frozen=True)
class Chip:
    """A feature that is steered."""

    feature: FeatureSummary
    strength: float | None
    """Times its highest activation; None is off."""

    def strength_in(self, swept: float | None) -> float | None:
        """Its strength in one text of a sweep; without a sweep its own."""
        return self.strength if swept is None or self.strength is None else swept

    @property
    def note(self) -> str:
        """What was measured of its strengths, in a few words."""
        return strength_note(self.feature)

    @property
    def place(self) -> tuple[str, str]:
        """Model and name of its SAE."""
        return self.feature.model, self.feature.sae

    @property
    def argument(self) -> str:
        """As the address has it."""
        return f"{self.feature.name}:{'off' if self.strength is None else f'{self.strength:g}'}"


@dataclass(frozen=True)
class PlannedRow:
    """One text to write."""

    strength: float | None
    """Of all features, in a sweep; else None."""
    held: list[Held]
    note: str = ""
    """What the run measured of texts at such strengths, if they break there."""

    @property
    def title(self) -> str:
        """The heading of the text."""
        if all(held.value is None for held in self.held):
            return "Plain"
        return "Steered" if self.strength is None else times(self.strength)


@dataclass(frozen=True)
class Plan:
    """A validated request."""

    run: OpenRun
    chips: list[Chip]
    rows: list[PlannedRow]
    """The baseline, then what is steered. The baseline only measures."""
    prompt: Prompt
    draw: Draw
    mode: SteeringMode
    scope: Scope
    strengths: list[float]
    """Of a sweep; none where there is no sweep."""
    history: list[Turn]

    def conversation(self, *, steered: bool) -> list[ChatMessage]:
        """All messages of a chat up to the prompt, with the answers of either side."""
        before = [message for turn in self.history for message in turn.messages(steered=steered)]
        return [*before, ChatMessage("user", self.prompt.text)]


def make_plan(library: Library, body: SteerBody, max_new_tokens: int) -> Plan:
    """Check a request against what is published. Raises RefusedError that says what to change."""
    if not 1 <= len(body.features) <= MAX_FEATURES:
        raise RefusedError(f"Name 1 to {MAX_FEATURES} features to steer with; there are {len(body.features)}.")
    if not body.prompt:
        asked = "a message for the model to answer" if body.chat else "something for the model to continue"
        raise RefusedError(f"The prompt is empty: write {asked}.")
    if body.history and not body.chat:
        raise RefusedError("Only a chat has turns: ask for a chat, or leave out the history.")
    if body.max_new_tokens > max_new_tokens:
        raise RefusedError(f"At most {max_new_tokens} new tokens are written at once; ask for fewer.")
    places = [find_feature(library, one.feature) for one in body.features]
    run = places[0][0].run
    if any(sae.run is not run for sae, _ in places):
        raise RefusedError("All features must be of one run, for they are held in one layer of one model.")
    if len({(sae.name, index) for sae, index in places}) < len(places):
        raise RefusedError("A feature is named twice: give each feature one strength.")
    chips = _chips(run, places, [one.strength for one in body.features])
    for chip in chips:
        _check(chip)
    draw = Draw(body.temperature, body.top_p, body.max_new_tokens, body.seed)
    strengths = _sweep(body, chips)
    rows = _rows(places, chips, body, strengths)
    prompt = Prompt(body.prompt, body.chat)
    return Plan(run, chips, rows, prompt, draw, body.mode, body.scope, strengths, body.history)


def parse_argument(library: Library, argument: str) -> Chip:
    """A chip from `model/sae/index:strength`; its default strength when the argument has none. Raises RefusedError."""
    name, _, text = argument.strip().rpartition(":")
    if "/" in text or not name:  # the colon of a whole address, or none at all
        name, text = argument, ""
    sae, index = find_feature(library, name)
    (chip,) = _chips(sae.run, [(sae, index)], [None])
    return Chip(chip.feature, parse_strength(text) if text else default_strength(chip.feature))


def parse_strength(text: str) -> float | None:
    """A number, or None of "off". Raises RefusedError."""
    if text.strip().lower() in ("off", ""):
        return None
    try:
        strength = float(text)
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        raise RefusedError(f"'{text}' is not a strength: give a number from -10 to 10, or off.")
    return strength


def parse_strengths(text: str) -> list[float]:
    """The strengths of a sweep, from a text with commas or blanks between them. Raises RefusedError."""
    found = [parse_strength(part) for part in text.replace(",", " ").split()]
    if None in found:
        raise RefusedError("The strengths to compare are numbers from -10 to 10: “off” is none of them.")
    return [strength for strength in found if strength is not None]


def _sweep(body: SteerBody, chips: Sequence[Chip]) -> list[float]:
    """The strengths of a sweep, checked; none where there is no sweep."""
    if not body.sweep:
        return []
    if body.mode == "ablate":
        raise RefusedError("Several strengths cannot be compared where features are taken out: choose clamp or add.")
    if all(chip.strength is None for chip in chips):
        raise RefusedError("Every feature is off, so there is no strength to compare: give one a strength.")
    if not 1 <= len(body.strengths) <= MAX_STRENGTHS:
        raise RefusedError(f"Name 1 to {MAX_STRENGTHS} strengths to compare; there are {len(body.strengths)}.")
    if len(set(body.strengths)) < len(body.strengths):
        raise RefusedError("A strength to compare is named twice: name each once.")
    for strength in body.strengths:
        _check_strength(strength)
    return body.strengths


def _rows(
    places: Sequence[tuple[OpenSAE, int]], chips: Sequence[Chip], body: SteerBody, strengths: Sequence[float]
) -> list[PlannedRow]:
    def row(strength: float | None) -> PlannedRow:
        held = [
            Held(*place, steered_value(chip, strength, body.mode), body.mode)
            for place, chip in zip(places, chips, strict=True)
        ]
        given = [(chip.feature, chip.strength_in(strength)) for chip in chips]
        return PlannedRow(strength, held, break_note(given, body.mode, body.scope))

    baseline = PlannedRow(None, [Held(*place, None) for place in places])
    return [baseline, *(map(row, strengths) if strengths else [row(None)])]


def steered_value(chip: Chip, strength: float | None, mode: SteeringMode) -> float | None:
    """The activation at which a feature of a row is held; `strength` is that of the sweep."""
    held = chip.strength_in(strength)
    if held is None:
        return None
    return 0.0 if mode == "ablate" else held * chip.feature.max


def _chips(run: OpenRun, places: Sequence[tuple[OpenSAE, int]], strengths: Sequence[float | None]) -> list[Chip]:
    summaries = get_summaries(run, [sae.row(index) for sae, index in places])
    return [Chip(feature, strength) for feature, strength in zip(summaries, strengths, strict=True)]


def _check(chip: Chip) -> None:
    if chip.feature.dead:
        raise RefusedError(
            f"{chip.feature.name} was never active on the corpus, so it has no strength to multiply: choose another."
        )
    if chip.strength is not None:
        _check_strength(chip.strength)


def _check_strength(strength: float) -> None:
    if not (math.isfinite(strength) and abs(strength) <= MAX_STRENGTH):
        raise RefusedError(f"A strength is a number from -{MAX_STRENGTH:g} to {MAX_STRENGTH:g}, not {strength}.")
