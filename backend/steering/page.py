"""The contexts of the steering page and of the page of a result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.engine.engine import EngineStatus
from backend.engine.limits import MAX_FEATURES
from backend.engine.messages import Scope, SteeringMode
from backend.html.page import Page
from backend.html.tokens import visible_text
from backend.published.demonstrations import Demonstrations, StoredDemonstration
from backend.published.features import FeatureSummary
from backend.steering.form import SteerForm
from backend.steering.plan import Chip
from backend.steering.results import SteeringResult
from backend.steering.stored import OpenForm, demonstration_of
from backend.steering.strengths import break_note, default_strength, times
from backend.steering.views import Conversation, TokenColour, conversation_of

TOKEN_COLOURS: dict[TokenColour, str] = {"none": "None", "activation": "Activation", "probability": "Probability"}
STEERING_MODES: dict[SteeringMode, str] = {
    "clamp": "Hold at strength × its highest",
    "add": "Add strength × its highest",
    "ablate": "Take it out",
}
SCOPES: dict[Scope, str] = {"all": "Every token", "written": "Written tokens only"}
CHIPS_SHOWN = 8
SHARED_CHARACTERS = 200
"""Of each text, in what other sites show of a link to a result."""


@dataclass(frozen=True)
class StoredStrength:
    """A strength of which a text is stored."""

    text: str
    href: str
    current: bool


@dataclass(frozen=True)
class SteerPage(Page):
    """steering/steer.html: features with strengths, the conversation, and the message to send."""

    off: str
    """The reason why the model is not available; "" when it is."""
    problem: str
    """The error in the form; "" when there is none."""
    model_name: str
    """Of the language model."""
    form: SteerForm
    loaded: bool
    """Whether the model is in memory: otherwise the first answer waits for it to load."""
    chips: list[Chip]
    words: str
    """What was typed to look for a feature; "" for nothing."""
    suggestions: list[Chip]
    """Features to add, each as it would be added: those with these words, else those that respond."""
    conversation: Conversation
    state: dict[str, Any]
    """What the script needs to know of it, see `_state`."""
    strengths: list[StoredStrength]
    """Those of which a text of this feature and message is stored."""
    others: list[StoredDemonstration]
    """Demonstrations but the one that is shown."""
    found: str
    """A sentence on how they were found, or why there are none."""
    description: str
    """Of the page, for those who share it."""
    status: EngineStatus
    max_features: int
    max_new_tokens: int
    modes: dict[SteeringMode, str]
    scopes: dict[Scope, str]
    colours: dict[TokenColour, str]


@dataclass(frozen=True)
class ResultPage(Page):
    """steering/result.html: one finished steering, with all its settings."""

    result: SteeringResult
    conversation: Conversation
    title: str
    """The prompt, and with what it was steered, shortened."""
    held: str
    """The features and their strengths, in words."""
    description: str
    """The plain and the steered text, for those who share the page."""
    again: str
    """The form with the same settings and message."""
    go_on: str
    """The form with which the chat goes on; "" where there are no two answers to go on from."""
    published: bool
    """Whether the run is still published as it was."""
    mode: str
    scope: str
    colour: TokenColour
    colours: dict[TokenColour, str]


def steer_page_of(
    opened: OpenForm,
    off: str,
    loaded: bool,
    to_begin: Sequence[FeatureSummary],
    found: Demonstrations,
    model_name: str,
    status: EngineStatus,
    max_new_tokens: int,
) -> SteerPage:
    """The page's context."""
    form, chips, conversation = opened.form, opened.chips, opened.conversation
    named = {chip.feature.name for chip in chips}
    stored = demonstration_of(form, chips, conversation, found)
    offered = opened.matches if form.words else [*(one.feature for one in found.all), *to_begin]
    added = {feature.name: feature for feature in offered}
    return SteerPage(
        off=off,
        problem=opened.problem,
        model_name=model_name,
        form=form,
        loaded=loaded,
        chips=chips,
        words=form.words,
        suggestions=[Chip(f, default_strength(f)) for name, f in added.items() if name not in named][:CHIPS_SHOWN],
        conversation=conversation,
        state=_state(conversation, stored),
        strengths=_strengths(stored, chips),
        others=[one for one in found.all if one is not stored][:CHIPS_SHOWN],
        found=found.found,
        description=_description_of_stored(found.lead),
        status=status,
        max_features=MAX_FEATURES,
        max_new_tokens=max_new_tokens,
        modes=STEERING_MODES,
        scopes=SCOPES,
        colours=TOKEN_COLOURS,
    )


def result_page_of(result: SteeringResult, published: bool, colour: TokenColour) -> ResultPage:
    """The context of a result's page."""
    form = _form_of(result)
    before = result.id if result.history else ""
    return ResultPage(
        result=result,
        conversation=conversation_of(result),
        title=f"“{visible_text(_shortened(result.prompt, 60))}” with {_shortened(held_text(result), 80)}",
        held=held_text(result),
        description=_description(result),
        again=form.changed(prompt=result.prompt, after=before).href(),
        go_on=form.changed(after=result.id, prompt="").href() if result.turn() else "",
        published=published,
        mode=STEERING_MODES[result.mode],
        scope=SCOPES[result.scope],
        colour=colour,
        colours=TOKEN_COLOURS,
    )


def held_text(result: SteeringResult) -> str:
    """The features of a result and their strengths, in words."""
    return ", ".join(f"{one.label} {_strength_text(one.strength, result)}" for one in result.features)


def _strength_text(strength: float | None, result: SteeringResult) -> str:
    if strength is None:
        return "off"
    if result.mode == "ablate":
        return "taken out"
    if result.sweep:
        return "at " + ", ".join(times(row.strength) for row in result.rows if row.strength is not None)
    return f"at {times(strength)}"


def _description(result: SteeringResult) -> str:
    """The plain and the steered text, shortened."""
    plain, *steered = (visible_text(_shortened(row.written)) for row in result.rows)
    return f"Steered: {' / '.join(steered)} — Plain: {plain}"


def _description_of_stored(one: StoredDemonstration | None) -> str:
    if one is None:
        return "Turn a feature of a language model up, and read what it writes beside what it writes by itself."
    texts = [visible_text(_shortened(text)) for text in (one.opening, one.opens.text, one.baseline)]
    held = f"{one.feature.title} at {times(one.opens.strength)}"
    return f"{texts[0]} With {held}: {texts[1]} — By itself: {texts[2]}"


def _shortened(text: str, limit: int = SHARED_CHARACTERS) -> str:
    words = " ".join(text.split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def _strengths(stored: StoredDemonstration | None, chips: Sequence[Chip]) -> list[StoredStrength]:
    texts = stored.texts if stored else []
    return [StoredStrength(times(one.strength), one.href, one.strength == chips[0].strength) for one in texts]


def _state(conversation: Conversation, stored: StoredDemonstration | None) -> dict[str, Any]:
    """turns: exact, as a request names them. stored: the demonstration that the page shows, with its texts."""
    return {
        "turns": [turn.model_dump() for turn in conversation.turns],
        "stored": stored and {
            "feature": stored.feature.name,
            "prompt": stored.opening,
            "chat": stored.chat,
            "new_tokens": stored.new_tokens,
            "baseline": {"text": stored.baseline, "passages": stored.baseline_passages},
            "texts": {
                f"{one.strength:g}": {
                    "text": one.text,
                    "passages": one.passages,
                    "note": break_note([(stored.feature, one.strength)]),
                }
                for one in stored.texts
            },
        },
    }  # fmt: skip


def _form_of(result: SteeringResult) -> SteerForm:
    strengths = [row.strength for row in result.rows if row.strength is not None]
    form = SteerForm(
        f=[f"{one.name}:{'off' if one.strength is None else f'{one.strength:g}'}" for one in result.features],
        mode=result.mode,
        scope=result.scope,
        sweep=result.sweep,
        chat=result.chat,
        temperature=f"{result.temperature:g}",
        top_p=f"{result.top_p:g}",
        new_tokens=str(result.max_new_tokens),
        seed=str(result.seed),
    )
    return form.changed(strengths=", ".join(f"{one:g}" for one in strengths)) if result.sweep else form
