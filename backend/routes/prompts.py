"""Prompts: which features a text activates, as a page and for programs."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from backend.active import RANKS, ActiveFeature, Rank, gather, rank
from backend.attribution_page import AttributionDep, AttributionState, SectionBuilder, explain
from backend.catalogue import Library, OpenSAE
from backend.clients import know_again
from backend.connections import while_connected
from backend.contexts import Link
from backend.dependencies import EngineDep, LibraryDep, PromptsDep, SettingsDep, require_runs
from backend.engine import Engine
from backend.errors import not_found, retry_headers, status_of
from backend.live import Prompt, RefusedError
from backend.prompts import (
    EXAMPLE_PROMPTS,
    Problem,
    PromptPage,
    PromptState,
    find_feature,
    hide_links,
    present,
    rank_links,
    sae_choices,
    ways_on,
)
from backend.queries import FeatureSummary, get_summaries
from backend.settings import Settings
from backend.stored_prompts import MAX_TEXT, StoredPrompts, is_long, unix_lines
from backend.templates import render
from backend.tokens import token_texts
from backend.turns import turn
from data.errors import MonosemaError

router = APIRouter(tags=["live"])

MAX_SAES = 8
Text = Annotated[str, Field(max_length=MAX_TEXT)]


class ActivationsBody(BaseModel):
    """A text to read."""

    text: Text
    saes: list[str] = Field([], max_length=MAX_SAES, description="model/name each, all of one run; one by default")
    chat: bool = Field(False, description="Put the text into the model's chat template.")
    rank: Rank = Field("max", description="; ".join(f"{name}: {about}" for name, (_, about) in RANKS.items()))
    hide_density: float = Field(
        1.0, ge=0, le=1, description="Leave out features active on a larger share of the corpus."
    )
    limit: int = Field(40, ge=1, le=1000, description="Features overall, of each SAE.")
    per_token: int = Field(12, ge=0, le=100, description="Features of each token, of each SAE.")


@dataclass(frozen=True)
class ReadToken:
    """A token as the model reads it."""

    token: int
    text: str
    left_out: bool
    """The opening token, an attention sink, or what the chat template says: not counted."""


@dataclass(frozen=True)
class SAEActivations:
    """What is active in one SAE, best first."""

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
async def read_activations(
    request: Request, body: ActivationsBody, engine: EngineDep, library: LibraryDep
) -> Activations:
    """The active features of a text, for every token and overall."""
    saes = await run_in_threadpool(named_saes, library, body.saes)
    with turn(request):
        reading = await while_connected(request, engine.activations(saes, Prompt(body.text, body.chat)))

    def describe() -> list[SAEActivations]:
        activity = gather(saes, reading)
        ranked = [(sae.href[1:], rank(activity, body.rank, body.hide_density, sae)) for sae in saes]
        return [
            SAEActivations(name, r.total, r.hidden, r.overall(body.limit), r.by_token(body.per_token))
            for name, r in ranked
        ]

    texts = token_texts(reading.pieces)
    tokens = [ReadToken(*one) for one in zip(reading.tokens, [t.text for t in texts], reading.left_out, strict=True)]
    return Activations(tokens, await run_in_threadpool(describe))


class StoreBody(BaseModel):
    """A text to store."""

    text: Text


@dataclass(frozen=True)
class StoredPrompt:
    """A text under a short address."""

    id: str
    text: str
    href: str
    """The prompt page that reads it."""


@router.post("/api/v1/prompts", status_code=201)
def store_prompt(body: StoreBody, prompts: PromptsDep) -> StoredPrompt:
    """Store a text under an address that never changes; the same text always has the same."""
    return _stored(prompts, prompts.save(body.text))


@router.get("/api/v1/prompts/{name}")
def stored_prompt(name: str, prompts: PromptsDep) -> StoredPrompt:
    """A stored text by its id."""
    return _stored(prompts, name)


def _stored(prompts: StoredPrompts, name: str) -> StoredPrompt:
    return StoredPrompt(name, load_text(prompts, name), PromptState(p=name).href())


class PromptQuery(BaseModel):
    """The query string of the prompt page, see PromptState, and its form."""

    text: str = Field("", max_length=10 * MAX_TEXT)
    p: str = ""
    sae: list[str] = Field([], max_length=MAX_SAES)
    chat: bool = False
    rank: Rank = "max"
    hide: float = Field(0.2, ge=0, le=1)
    f: str = ""
    token: int | None = Field(None, ge=0)


@router.get("/prompt", include_in_schema=False)
async def prompt_page(
    request: Request,
    asked: Annotated[PromptQuery, Query()],
    output: AttributionDep,
    engine: EngineDep,
    library: LibraryDep,
    prompts: PromptsDep,
    settings: SettingsDep,
) -> Response:
    """Type text, see which features are active, and which of them caused an output."""
    text = await run_in_threadpool(load_text, prompts, asked.p) if asked.p else asked.text
    return await _page(request, asked, text, engine, library, settings, output=output)


@router.post("/prompt", include_in_schema=False)
async def prompt_form(
    request: Request,
    asked: Annotated[PromptQuery, Form()],
    engine: EngineDep,
    library: LibraryDep,
    prompts: PromptsDep,
    settings: SettingsDep,
) -> Response:
    """Go to the address of what was typed; a long text is stored for it."""
    text = unix_lines(asked.text)
    state = PromptState(text, "", tuple(asked.sae), asked.chat, asked.rank, asked.hide, asked.f)
    if len(text) > MAX_TEXT:
        return await _page(request, asked, text, engine, library, settings)
    try:
        if is_long(text):
            state = state.changed(text="", p=await run_in_threadpool(prompts.save, text))
    except MonosemaError as error:
        return await _page(request, asked, text, engine, library, settings, error)
    return RedirectResponse(state.href(), 303)


async def _page(
    request: Request,
    asked: PromptQuery,
    text: str,
    engine: Engine,
    library: Library,
    settings: Settings,
    error: MonosemaError | None = None,
    output: AttributionState = AttributionState(),  # noqa: B008 - it is frozen
) -> Response:
    saes, focus = await run_in_threadpool(_prompt_target, library, asked)
    names = tuple(sae.href[1:] for sae in saes)
    followed = focus[1].name if focus else ""
    state = PromptState(text, asked.p, names, asked.chat, asked.rank, asked.hide, followed, asked.token)
    run = saes[0].run
    off, result, attribution = engine.why_off(run), None, None
    loaded = engine.is_loaded(run)
    if len(text) > MAX_TEXT:
        error = RefusedError(f"The text has {len(text):,} characters, at most {MAX_TEXT:,} can be read: shorten it.")
    if not off and not error and text.strip():
        try:
            prompt = Prompt(text, state.chat)
            with turn(request):
                reading = await while_connected(request, engine.activations(saes, prompt))
                result = await run_in_threadpool(present, state, saes, reading, focus)
                builder = SectionBuilder(state.href(), output, reading.pieces)
                attribution = await while_connected(request, explain(engine, saes, prompt, builder))
        except MonosemaError as raised:
            error = raised
    elif not off and not loaded:
        engine.prepare(run)
    status = status_of(error) if error else 422 if attribution and attribution.problem else 200
    page = PromptPage(
        off=off,
        loaded=loaded or result is not None,
        problem=Problem(str(error), ways_on(state, status)) if error else None,
        state=state,
        saes=sae_choices(saes),
        runs=_other_runs(library, run.name, state),
        ranks=rank_links(asked.rank),
        rank_about=RANKS[asked.rank][1],
        hides=hide_links(asked.hide),
        max_tokens=settings.max_prompt_tokens,
        focus=focus[1] if focus else None,
        result=result,
        attribution=attribution,
        examples=[Link(text, state.href(text=text, p="", token=None)) for text in EXAMPLE_PROMPTS],
    )
    headers = retry_headers(error) if error else None
    return know_again(request, render(request, "prompts/prompt.html", page, status, headers))


def load_text(prompts: StoredPrompts, name: str) -> str:
    """A stored text. Raises 404 when there is none."""
    text = prompts.load(name)
    if text is None:
        raise not_found(f"No prompt is stored as '{name}'. Type the text on the prompt page.")
    return text


def _prompt_target(library: Library, asked: PromptQuery) -> tuple[list[OpenSAE], tuple[OpenSAE, FeatureSummary] | None]:
    """The SAEs of a prompt page and the feature it follows, which decides the SAE where none is named."""
    saes = named_saes(library, asked.sae) if asked.sae or not asked.f else []
    if not asked.f:
        return saes, None
    sae, index = find_feature(library, asked.f)
    if saes and sae not in saes:
        return saes, None
    return saes or [sae], (sae, get_summaries(sae.run, [sae.row(index)])[0])


def _other_runs(library: Library, current: str, state: PromptState) -> list[Link]:
    runs = [run for run in library.catalogue().runs if run.name != current]
    return [Link(run.name, state.href(saes=(run.saes[0].href[1:],), f="", token=None)) for run in runs]


def named_saes(library: Library, names: list[str]) -> list[OpenSAE]:
    """SAEs of one run by model/name, each once; the first of the newest run when none is named.

    Raises 404 for a name that is none, RefusedError when they are of several runs.
    """
    catalogue = library.catalogue()
    require_runs(catalogue)
    found = []
    for name in dict.fromkeys(names or [catalogue.runs[0].saes[0].href[1:]]):
        model, _, sae = name.partition("/")
        if (model, sae) not in catalogue.saes:
            raise not_found(f"There is no SAE '{name}' here. The home page lists those that are.")
        found.append(catalogue.saes[model, sae])
    if any(sae.run is not found[0].run for sae in found):
        raise RefusedError("All SAEs must be of one run, for they read one layer of one model.")
    return found
