"""Prompts: which features a text activates, as a page and for programs."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from backend.catalogue import Library, OpenSAE
from backend.contexts import Link
from backend.dependencies import EngineDep, LibraryDep, SettingsDep, require_runs
from backend.engine import Engine
from backend.errors import not_found, status_of
from backend.live import Prompt, RefusedError
from backend.prompts import (
    ActiveFeature,
    PromptPage,
    PromptResult,
    PromptState,
    choices,
    find_feature,
    hide_links,
    present,
    rank,
)
from backend.queries import FeatureSummary, get_summaries
from backend.templates import render
from backend.tokens import token_texts
from data.errors import MonosemaError

router = APIRouter(tags=["live"])

MAX_TEXT = 20_000
"""Characters of a prompt; its tokens are what is limited by the settings."""
EXAMPLE_PROMPTS = (
    "He studied at the University of Oxford before the war.",
    "The river flows north through the valley towards the sea.",
    "Her third album was released in September 1998.",
)


class ActivationsBody(BaseModel):
    """A text to read."""

    text: Annotated[str, Field(max_length=MAX_TEXT)]
    saes: list[str] = Field([], max_length=8, description="model/name each, all of one run; the first by default")
    chat: bool = Field(False, description="Put the text into the model's chat template.")
    hide_density: float = Field(
        1.0, ge=0, le=1, description="Leave out features active on a larger share of the corpus."
    )


@dataclass(frozen=True)
class ReadToken:
    """A token as the model reads it."""

    token: int
    text: str
    left_out: bool
    """The opening token or an attention sink: not counted."""


@dataclass(frozen=True)
class SAEActivations:
    """What is active in one SAE, strongest first."""

    sae: str
    total: int
    hidden: int
    overall: list[ActiveFeature]
    by_token: list[list[ActiveFeature]]


@dataclass(frozen=True)
class Activations:
    """What a text activates."""

    tokens: list[ReadToken]
    saes: list[SAEActivations]


@router.post("/api/v1/activations")
async def read_activations(body: ActivationsBody, engine: EngineDep, library: LibraryDep) -> Activations:
    """The active features of a text, for every token and overall."""
    saes = await run_in_threadpool(_named_saes, library, body.saes)
    reading = await engine.activations(saes, Prompt(body.text, body.chat))

    def describe() -> list[SAEActivations]:
        ranked = [(sae, rank(sae, reading, body.hide_density)) for sae in saes]
        return [SAEActivations(s.href[1:], r.total, r.hidden, r.overall, r.by_token) for s, r in ranked]

    texts = token_texts(reading.pieces)
    tokens = [ReadToken(*one) for one in zip(reading.tokens, [t.text for t in texts], reading.left_out, strict=True)]
    return Activations(tokens, await run_in_threadpool(describe))


class PromptQuery(BaseModel):
    """The query string of the prompt page, see PromptState."""

    text: str = Field("", max_length=MAX_TEXT)
    sae: str = ""
    chat: bool = False
    f: str = ""
    token: int | None = Field(None, ge=0)
    hide: float = Field(0.2, ge=0, le=1)


@router.get("/prompt", include_in_schema=False)
async def prompt_page(
    request: Request,
    asked: Annotated[PromptQuery, Query()],
    engine: EngineDep,
    library: LibraryDep,
    settings: SettingsDep,
) -> Response:
    """Type text, see which features are active."""
    sae, focus = await run_in_threadpool(_prompt_target, library, asked)
    state = PromptState(asked.text, sae.href[1:], asked.chat, asked.f, asked.token, asked.hide)
    off, problem, status, result = engine.why_off(sae.run), "", 200, None
    if not off and asked.text.strip():
        try:
            result = await _read(engine, sae, state, focus)
        except MonosemaError as error:
            problem, status = str(error), status_of(error)
    elif not off:
        engine.prepare(sae.run)
    page = PromptPage(
        off=off,
        problem=problem,
        state=state,
        saes=choices([other for run in library.catalogue().runs for other in run.saes], sae),
        hides=hide_links(asked.hide),
        max_tokens=settings.max_prompt_tokens,
        focus=focus,
        result=result,
        examples=[Link(text, PromptState(text, state.sae, f=asked.f).href()) for text in EXAMPLE_PROMPTS],
    )
    return render(request, "prompt.html", page, status)


async def _read(engine: Engine, sae: OpenSAE, state: PromptState, focus: FeatureSummary | None) -> PromptResult:
    reading = await engine.activations([sae], Prompt(state.text, state.chat))
    return await run_in_threadpool(present, state, sae, reading, focus)


def _prompt_target(library: Library, asked: PromptQuery) -> tuple[OpenSAE, FeatureSummary | None]:
    """The SAE of a prompt page and the feature it follows. A feature decides the SAE."""
    require_runs(library.catalogue())
    if not asked.f:
        return _named_saes(library, [asked.sae] if asked.sae else [])[0], None
    sae, index = find_feature(library, asked.f)
    if asked.sae and asked.sae != sae.href[1:]:
        return _named_saes(library, [asked.sae])[0], None
    return sae, get_summaries(sae.run, [sae.row(index)])[0]


def _named_saes(library: Library, names: list[str]) -> list[OpenSAE]:
    catalogue = library.catalogue()
    if not names:
        return [catalogue.runs[0].saes[0]]
    found = []
    for name in names:
        model, _, sae = name.partition("/")
        if (model, sae) not in catalogue.saes:
            raise not_found(f"There is no SAE '{name}' here. The home page lists those that are.")
        found.append(catalogue.saes[model, sae])
    if any(sae.run is not found[0].run for sae in found):
        raise RefusedError("All SAEs must be of one run, for they read one layer of one model.")
    return found
