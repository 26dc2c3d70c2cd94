"""The steering page and the page of a result: the form, and the contexts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from backend.engine.engine import EngineStatus
from backend.engine.limits import MAX_FEATURES, MAX_PROMPT_CHARACTERS
from backend.engine.messages import Scope, SteeringMode
from backend.exceptions import RefusedError
from backend.html.address import Address
from backend.html.page import Page
from backend.html.tokens import level, written_text
from backend.published.catalogue import Library
from backend.published.features import FeatureSummary
from backend.steering.openings import Opening, Openings
from backend.steering.plan import Chip, SteerBody, SteeredFeature, parse_argument, parse_strength
from backend.steering.results import ENDINGS, RowResult, SteeredFeatureResult, SteeringResult, TokenResult

DEFAULT_STRENGTH = 2.0
"""Strength of a feature that was just added."""
DEFAULT_PROMPT = "I am a"
"""Prompt of an address that names none."""

TokenColour = Literal["activation", "probability", "none"]
TOKEN_COLOURS: dict[TokenColour, str] = {"activation": "Activation", "probability": "Probability", "none": "None"}
STEERING_MODES: dict[SteeringMode, str] = {
    "clamp": "Clamp: hold at strength × max",
    "add": "Add strength × max",
    "ablate": "Ablate: take it out",
}
SCOPES: dict[Scope, str] = {"all": "Every token", "written": "Written tokens only"}


class SteerForm(Address):
    """The form of the steering page, and its query string."""

    path = "/steer"
    always = ("prompt",)

    f: list[str] = Field(default=[], max_length=32, description="model/sae/index:strength; an empty one is ignored")
    s: list[str] = Field(default=[], max_length=32, description="strengths of the features in `f`, when changed")
    without: str = Field(default="", max_length=200, description="model/sae/index of a feature in `f` to take out")
    prompt: str = Field(default="", max_length=MAX_PROMPT_CHARACTERS)
    mode: SteeringMode = "clamp"
    scope: Scope = "all"
    sweep: bool = False
    chat: bool = False
    temperature: float = Field(default=0.7, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=0.9, gt=0, le=1, allow_inf_nan=False)
    new_tokens: int = Field(default=48, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    colour: TokenColour = "activation"


@dataclass(frozen=True)
class SteerToken:
    """A token of a text that was written."""

    text: str
    activation: int
    """Step of the highlight by activation: the most active of the features, as a share of its highest; -1 for none."""
    probability: int
    """Step of the highlight by probability; -1 in the prompt."""
    title: str
    """Probability and activations, in words."""


@dataclass(frozen=True)
class SteerColumn:
    """One text."""

    title: str
    prompt: list[SteerToken]
    written: list[SteerToken]
    ending: str
    """The reason why it ended; "" when it has the requested length."""


@dataclass(frozen=True)
class SteerPage(Page):
    """steering/steer.html: features with strengths, a prompt, and the place for baseline and steered text."""

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
    suggestions: list[Chip]
    """Features to start with, each as it would be added."""
    openings: list[tuple[Opening, str]]
    """Whole examples, and the address of each, with which the same is written again."""
    found: str
    """A sentence on how the examples were found, or why there are none."""
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
    columns: list[SteerColumn]
    again: str
    """The form with the same settings."""
    published: bool
    """Whether the run is still published as it was."""
    mode: str
    scope: str
    colour: TokenColour
    colours: dict[TokenColour, str]


def steer_page_of(
    form: SteerForm,
    chips: list[Chip],
    problem: str,
    off: str,
    loaded: bool,
    suggestions: Sequence[FeatureSummary],
    openings: Openings,
    model_name: str,
    status: EngineStatus,
    max_new_tokens: int,
) -> SteerPage:
    """The page's context."""
    named = {chip.feature.name for chip in chips}
    return SteerPage(
        off=off,
        problem=problem,
        model_name=model_name,
        form=form,
        loaded=loaded,
        chips=chips,
        suggestions=[Chip(s, DEFAULT_STRENGTH) for s in suggestions if s.name not in named],
        openings=[(one, _opening_href(one)) for one in openings.examples],
        found=openings.found,
        status=status,
        max_features=MAX_FEATURES,
        max_new_tokens=max_new_tokens,
        modes=STEERING_MODES,
        scopes=SCOPES,
        colours=TOKEN_COLOURS,
    )


def result_page_of(result: SteeringResult, published: bool, colour: TokenColour) -> ResultPage:
    """The context of a result's page."""
    return ResultPage(
        result=result,
        columns=[_column(row, result.features) for row in result.rows],
        again=_again(result),
        published=published,
        mode=STEERING_MODES[result.mode],
        scope=SCOPES[result.scope],
        colour=colour,
        colours=TOKEN_COLOURS,
    )


def read_chips(library: Library, form: SteerForm) -> tuple[list[Chip], str]:
    """The features of a form, and a message that names those that cannot be read."""
    chips: list[Chip] = []
    problems: list[str] = []
    for place, argument in enumerate(form.f):
        if not argument.strip():
            continue
        try:
            chip = parse_argument(library, argument, DEFAULT_STRENGTH)
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


def to_body(form: SteerForm, chips: Sequence[Chip]) -> SteerBody:
    """The form as a request to the API."""
    return SteerBody(
        features=[SteeredFeature(feature=chip.feature.name, strength=chip.strength) for chip in chips],
        mode=form.mode,
        scope=form.scope,
        sweep=form.sweep,
        prompt=form.prompt,
        chat=form.chat,
        temperature=form.temperature,
        top_p=form.top_p,
        max_new_tokens=form.new_tokens,
        seed=form.seed,
    )


def _opening_href(one: Opening) -> str:
    return SteerForm(
        f=[one.chip.argument], prompt=one.prompt, chat=one.chat, temperature=0, new_tokens=one.new_tokens
    ).href()


def _again(result: SteeringResult) -> str:
    form = SteerForm(
        f=[f"{one.name}:{'off' if one.strength is None else f'{one.strength:g}'}" for one in result.features],
        mode=result.mode,
        scope=result.scope,
        sweep=result.sweep,
        prompt=result.prompt,
        chat=result.chat,
        temperature=result.temperature,
        top_p=result.top_p,
        new_tokens=result.max_new_tokens,
        seed=result.seed,
    )
    return form.href()


def _column(row: RowResult, features: Sequence[SteeredFeatureResult]) -> SteerColumn:
    """A text as the page shows it: all but its opening token (BOS)."""
    shown = [(token.probability is None, _token(token, features)) for token in row.tokens[1:]]
    prompt, written = ([token for in_prompt, token in shown if in_prompt is wanted] for wanted in (True, False))
    return SteerColumn(row.title, prompt, written, ENDINGS[row.ending])


def _token(token: TokenResult, features: Sequence[SteeredFeatureResult]) -> SteerToken:
    values = [value or 0.0 for value in token.activations]
    words = [f"{feature.label}: {value:.3g}" for feature, value in zip(features, values, strict=True)]
    title = "left out" if token.left_out else " · ".join(words)
    shares = [value / feature.max for feature, value in zip(features, values, strict=True)]
    probability = -1
    if token.probability is not None:
        title = f"p {token.probability:.2g} · {title}"
        probability = level(token.probability, 1.0)
    return SteerToken(written_text(token.text), level(max(shares, default=0.0), 1.0), probability, title)
