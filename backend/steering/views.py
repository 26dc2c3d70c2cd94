"""Texts and conversations as pages show them: turns of a message and its answers, each answer in tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.html.tokens import level, written_text
from backend.published.demonstrations import Passage, StoredDemonstration, StoredText
from backend.steering.plan import Turn
from backend.steering.results import RowResult, SteeredFeatureResult, SteeringResult, TokenResult
from backend.steering.strengths import break_note, times

TokenColour = Literal["activation", "probability", "none"]


@dataclass(frozen=True)
class SteerToken:
    """A token of a text, or a piece of one whose tokens are not known."""

    text: str
    activation: int = -1
    """Step of the highlight by activation: the most active of the features that are not held, as a share of its
    highest; -1 for none."""
    probability: int = -1
    """Step of the highlight by probability; -1 where it is not known."""
    title: str = ""
    """Probability and activations, in words."""
    told: bool = False
    """Whether it is one of the words that the feature is known by."""


@dataclass(frozen=True)
class Answer:
    """One text."""

    title: str
    given: list[SteerToken]
    """The text that it continues; none in a chat."""
    written: list[SteerToken]
    ending: str = ""
    """The reason why it ended, and whether texts break at its strength; "" when it has the requested length."""


@dataclass(frozen=True)
class TurnView:
    """A message and its answers: the plain one, then the steered ones."""

    message: str
    """"" for a text that is continued."""
    answers: list[Answer]


@dataclass(frozen=True)
class Conversation:
    """What was said, as it is shown and as the next message goes on from it."""

    shown: list[TurnView]
    turns: list[Turn]
    """Exact; none where no message can go on from it."""
    system: str = ""
    """What the chat template says to the model before the first message."""


def conversation_of(result: SteeringResult) -> Conversation:
    """A result with all that was said before it."""
    before = [_past(turn) for turn in result.history]
    answers = [_answer(row, result) for row in result.rows]
    last = result.turn()
    turns = [*result.history, last] if last else []
    message = written_text(result.prompt) if result.chat else ""
    return Conversation([*before, TurnView(message, answers)], turns, result.system)


def conversation_of_stored(one: StoredDemonstration, text: StoredText) -> Conversation:
    """A demonstration at one strength."""
    given = [] if one.chat else [SteerToken(written_text(one.opening))]
    note = break_note([(one.feature, text.strength)])
    answers = [
        Answer("Plain", given, _pieces(one.baseline_passages)),
        Answer(f"Steered, {times(text.strength)}", given, _pieces(text.passages), note),
    ]
    turn = Turn(message=one.opening, baseline=one.baseline, steered=text.text)
    message = written_text(one.opening) if one.chat else ""
    return Conversation([TurnView(message, answers)], [turn] if one.chat else [])


def _past(turn: Turn) -> TurnView:
    texts = (("Plain", turn.baseline), ("Steered", turn.steered))
    return TurnView(
        written_text(turn.message), [Answer(title, [], [SteerToken(written_text(text))]) for title, text in texts]
    )


def _pieces(passages: Sequence[Passage]) -> list[SteerToken]:
    return [SteerToken(passage.text, told=passage.told) for passage in passages]


def _answer(row: RowResult, result: SteeringResult) -> Answer:
    """A text as the page shows it: all but BOS, and in a chat only what was written."""
    is_steered = row.title != result.rows[0].title
    opened = row.tokens[0 if row.given.strip() == result.prompt.strip() else 1 :]
    shown = [(token.probability is None, _token(token, result, is_steered)) for token in opened]
    given, written = ([token for in_prompt, token in shown if in_prompt is wanted] for wanted in (True, False))
    return Answer(_title(row, result), [] if result.chat else given, written, row.said)


def _title(row: RowResult, result: SteeringResult) -> str:
    """The title of a text; with its strength where one feature has one."""
    strengths = [feature.strength for feature in result.features]
    is_one = row.title == "Steered" and len(strengths) == 1 and result.mode != "ablate"
    return f"Steered, {times(strengths[0])}" if is_one and strengths[0] is not None else row.title


def _token(token: TokenResult, result: SteeringResult, is_steered: bool) -> SteerToken:
    values = [value or 0.0 for value in token.activations]
    words = [f"{feature.label}: {value:.3g}" for feature, value in zip(result.features, values, strict=True)]
    title = "left out" if token.left_out else " · ".join(words)
    if token.probability is None:
        return SteerToken(written_text(token.text), title=title)
    shares = [
        value / feature.max
        for feature, value in zip(result.features, values, strict=True)
        if not (is_steered and is_constant(feature, result))
    ]
    return SteerToken(
        written_text(token.text),
        level(max(shares, default=0.0), 1.0),
        level(token.probability, 1.0),
        f"p {token.probability:.2g} · {title}",
    )


def is_constant(feature: SteeredFeatureResult, result: SteeringResult) -> bool:
    """Whether a feature has the same activation at every steered token, so that its colour would say nothing."""
    return feature.strength is not None and result.mode != "add"
