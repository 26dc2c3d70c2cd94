"""The form of steering, as its address and fields have it: what was typed stays, also when it is refused."""

from collections.abc import Sequence

from pydantic import Field, ValidationError

from backend.engine.limits import MAX_FEATURES, MAX_PROMPT_CHARACTERS
from backend.engine.messages import Scope, SteeringMode
from backend.exceptions import RefusedError
from backend.html.address import Address
from backend.published.catalogue import Library
from backend.published.demonstrations import Demonstrations, StoredDemonstration
from backend.steering.plan import (
    STRENGTHS,
    Chip,
    SteerBody,
    SteeredFeature,
    Turn,
    parse_argument,
    parse_strength,
    parse_strengths,
)
from backend.steering.views import TokenColour

DEFAULT_PROMPT = "I am a"
"""Text to continue, of an address that names none."""
DEFAULT_MESSAGE = "Who are you?"
"""The same in a chat, where the run's own demonstrations are chats."""
NUMBERS = {
    "temperature": "Temperature is a number from 0 to 2",
    "top_p": "Top p is a number above 0, at most 1",
    "new_tokens": "New tokens is a whole number from 1",
    "seed": "Seed is a whole number from 0",
}
"""Fields that are numbers, and what each must be."""


class SteerForm(Address):
    """The form of the steering page, and its query string. What a person types is text until it is used."""

    path = "/steer"
    always = ("prompt",)

    f: list[str] = Field(default=[], max_length=32, description="model/sae/index:strength; an empty one is ignored")
    s: list[str] = Field(default=[], max_length=32, description="strengths of the features in `f`, when changed")
    without: str = Field(default="", max_length=200, description="model/sae/index of a feature in `f` to take out")
    after: str = Field(default="", max_length=200, description="what a chat goes on from: the id of a result, or a "
                       "demonstration as model/sae/index:strength")  # fmt: skip
    fresh: bool = Field(default=False, description="begin a chat anew")
    prompt: str = ""
    mode: SteeringMode = "clamp"
    scope: Scope = "all"
    sweep: bool = False
    strengths: str = ", ".join(f"{strength:g}" for strength in STRENGTHS)
    """Of a sweep."""
    chat: bool = False
    temperature: str = "0.7"
    top_p: str = "0.9"
    new_tokens: str = "48"
    seed: str = "0"
    colour: TokenColour = "none"

    @property
    def words(self) -> str:
        """What was typed in place of a feature's name, to look for one; "" for nothing."""
        last = next((one.strip() for one in reversed(self.f) if one.strip()), "")
        return "" if "/" in last else last


def read_chips(library: Library, form: SteerForm) -> tuple[list[Chip], str]:
    """The features of a form, and a message that names those that cannot be read."""
    chips: list[Chip] = []
    problems: list[str] = []
    for place, argument in enumerate(form.f):
        if "/" not in argument:  # nothing, or words
            continue
        try:
            chip = parse_argument(library, argument)
            if chip.feature.name == form.without:
                continue
            chips.append(chip)  # stays when what was typed is no strength
            if place < len(form.s):
                chips[-1] = Chip(chip.feature, parse_strength(form.s[place]))
        except RefusedError as error:
            problems.append(str(error))
    if len(chips) > MAX_FEATURES:
        problems.append(f"At most {MAX_FEATURES} features are steered at once; the first {MAX_FEATURES} are kept.")
    return chips[:MAX_FEATURES], " ".join(problems)


def to_body(form: SteerForm, chips: Sequence[Chip], history: Sequence[Turn]) -> SteerBody:
    """The form as a request to the API. Raises RefusedError that names the field to change."""
    numbers = {"max_new_tokens" if name == "new_tokens" else name: getattr(form, name) for name in NUMBERS}
    try:
        return SteerBody(
            features=[SteeredFeature(feature=chip.feature.name, strength=chip.strength) for chip in chips],
            mode=form.mode,
            scope=form.scope,
            sweep=form.sweep,
            strengths=parse_strengths(form.strengths) if form.sweep else list(STRENGTHS),
            prompt=form.prompt,
            chat=form.chat,
            history=list(history),
            **numbers,
        )
    except ValidationError as error:
        raise RefusedError(" ".join(_refusal(str(one["loc"][0]), form) for one in error.errors())) from None


def _refusal(field: str, form: SteerForm) -> str:
    name = field.removeprefix("max_")
    if name in NUMBERS:
        return f"{NUMBERS[name]}, not “{getattr(form, name)[:40]}”."
    if name == "prompt":
        return f"The prompt has {len(form.prompt):,} characters, at most {MAX_PROMPT_CHARACTERS:,} fit: shorten it."
    return "This conversation is too long: begin a new one."


def prepared(form: SteerForm, chips: Sequence[Chip], found: Demonstrations) -> SteerForm:
    """A form that names no prompt, with one: that of its feature's demonstration, or of the best of all."""
    if form.fresh:
        return form.changed(after="", prompt="", fresh=False)
    if form.after or "prompt" in form.model_fields_set:
        return form
    if not chips and found.lead:
        return form_of(found.lead, found.lead.opens.strength, form)
    shown = found.of(chips[0].feature.name) if len(chips) == 1 else None
    if shown and chips[0].strength is not None:
        return form_of(shown, chips[0].strength, form)
    chats = bool(found.chats)
    return form.changed(chat=chats or form.chat, prompt=DEFAULT_MESSAGE if chats else DEFAULT_PROMPT)


def form_of(one: StoredDemonstration, strength: float, form: SteerForm) -> SteerForm:
    """The form with which a demonstration was written, after it where it has a text at this strength."""
    held = f"{one.feature.name}:{strength:g}"
    goes_on = one.chat and one.at(strength) is not None
    said = {"after": held, "prompt": ""} if goes_on else {"after": "", "prompt": one.opening}
    return form.changed(f=[held], s=[], chat=one.chat, temperature="0", new_tokens=str(one.new_tokens), **said)
