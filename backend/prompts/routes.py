"""The prompt page and its form."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from backend.attribution.section import AttributionDep, AttributionState, SectionBuilder, explain
from backend.engine.engine import Engine
from backend.engine.requests import MAX_TEXT, Prompt
from backend.exceptions import RefusedError
from backend.html.page import Link
from backend.html.templates import render
from backend.prompts.api import MAX_SAES, PromptsDep, load_text
from backend.prompts.page import (
    EXAMPLE_PROMPTS,
    Problem,
    PromptPage,
    PromptState,
    hide_links,
    present,
    rank_links,
    sae_choices,
    ways_on,
)
from backend.prompts.ranking import RANKS, Rank
from backend.prompts.store import is_long, unix_lines
from backend.published.catalogue import Library, OpenSAE
from backend.published.features import FeatureSummary, get_summaries
from backend.published.lookup import find_feature, named_saes
from backend.settings import Settings
from backend.web.clients import know_again, turn, while_connected
from backend.web.dependencies import EngineDep, LibraryDep, SettingsDep
from backend.web.problems import retry_headers, status_of
from data.errors import MonosemaError

router = APIRouter(tags=["live"])


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
