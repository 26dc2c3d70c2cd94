"""The prompt page and its form."""

from dataclasses import replace
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from backend.attribution.section import AttributionSection, AttributionState, SectionBuilder, explain
from backend.engine.engine import Engine
from backend.engine.limits import MAX_PROMPT_CHARACTERS
from backend.exceptions import RefusedError
from backend.html.page import Link
from backend.prompts.api import PromptsDep, load_text
from backend.prompts.page import prompt_page_of
from backend.prompts.result import Focus, PromptResult, prompt_result_of
from backend.prompts.state import PromptState
from backend.prompts.store import is_long
from backend.published.catalogue import Library, OpenSAE
from backend.published.features import get_summaries
from backend.published.lookup import best_reading, find_feature, named_saes
from backend.settings import Settings
from backend.web.dependencies import EngineDep, LibraryDep, SettingsDep
from backend.web.live import ask_for_page, respond
from data.errors import MonosemaError

router = APIRouter(tags=["live"])


@router.get("/prompt", include_in_schema=False)
async def prompt_page(
    request: Request,
    output: Annotated[AttributionState, Query()],
    asked: Annotated[PromptState, Query()],
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
    asked: Annotated[PromptState, Form()],
    engine: EngineDep,
    library: LibraryDep,
    prompts: PromptsDep,
    settings: SettingsDep,
) -> Response:
    """Redirect to the address of the prompt; a long text is stored first."""
    text = asked.text
    state = asked.changed(text=text, p="", token=None)
    if len(text) > MAX_PROMPT_CHARACTERS:
        return await _page(request, asked, text, engine, library, settings)
    try:
        if is_long(text):
            state = state.changed(p=await run_in_threadpool(prompts.save, text))
    except MonosemaError as error:
        return await _page(request, asked, text, engine, library, settings, error)
    return RedirectResponse(state.href(), 303)


async def _page(
    request: Request,
    asked: PromptState,
    text: str,
    engine: Engine,
    library: Library,
    settings: Settings,
    refused: MonosemaError | None = None,
    output: AttributionState = AttributionState(),  # noqa: B008 - it is frozen
) -> Response:
    saes, focus = await run_in_threadpool(_prompt_target, library, asked)
    followed = focus[1].name if focus else ""
    state = asked.changed(text=text, sae=[sae.href[1:] for sae in saes], f=followed)
    if len(text) > MAX_PROMPT_CHARACTERS:
        refused = RefusedError(
            f"The text has {len(text):,} characters, at most {MAX_PROMPT_CHARACTERS:,} can be read: shorten it."
        )

    async def read() -> _PromptAnswer:
        return await _read(engine, saes, state, focus, output)

    answer = await ask_for_page(request, engine, saes[0].run, read if text else None, refused)
    result, attribution, failed = answer.result or _PromptAnswer()
    answer = replace(answer, error=answer.error or failed)
    page = prompt_page_of(
        state, saes, _other_runs(library, saes[0].run.name, state), settings.max_prompt_tokens,
        focus[1] if focus else None, answer, result, attribution,
    )  # fmt: skip
    unanswered = attribution is not None and bool(attribution.problem)
    return respond(request, "prompts/prompt.html", page, answer, 422 if unanswered else None)


class _PromptAnswer(NamedTuple):
    """The result of reading a prompt, with its attribution."""

    result: PromptResult | None = None
    attribution: AttributionSection | None = None
    error: MonosemaError | None = None
    """Of the attribution, beside which the result is shown."""


async def _read(
    engine: Engine, saes: list[OpenSAE], state: PromptState, focus: Focus | None, output: AttributionState
) -> _PromptAnswer:
    prompt = state.prompt
    reading = await engine.activations(saes, prompt)
    result = await run_in_threadpool(prompt_result_of, state, saes, reading, focus)
    try:
        builder = SectionBuilder(state, output, reading.pieces)
        return _PromptAnswer(result, await explain(engine, saes, prompt, builder))
    except MonosemaError as error:
        return _PromptAnswer(result, error=error)


def _prompt_target(library: Library, asked: PromptState) -> tuple[list[OpenSAE], Focus | None]:
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
    return [Link(run.name, state.href(sae=[best_reading(run).href[1:]], f="", token=None)) for run in runs]
