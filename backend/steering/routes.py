"""The steering page with its form, and the pages of results: immutable, each under its own address."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from backend.exceptions import NotFoundError
from backend.html.templates import render
from backend.published.demonstrations import demonstrations
from backend.published.showpieces import showpieces
from backend.steering.api import ResultsDep, RunsDep
from backend.steering.form import SteerForm, read_chips, to_body
from backend.steering.page import result_page_of, steer_page_of
from backend.steering.plan import make_plan
from backend.steering.results import Results, SteeringResult
from backend.steering.runs import SteerRun
from backend.steering.stored import OpenForm, conversation_after, open_form, run_of, with_matches
from backend.steering.views import TokenColour
from backend.web.clients import ClientDep, while_connected
from backend.web.dependencies import LibraryDep, SettingsDep
from backend.web.live import Answer, ask_for_page, respond
from backend.web.problems import status_of
from data.errors import MonosemaError

router = APIRouter(tags=["live"])


@router.get("/steer", include_in_schema=False)
async def steer_page(
    request: Request,
    form: Annotated[SteerForm, Query()],
    results: ResultsDep,
    library: LibraryDep,
    settings: SettingsDep,
) -> Response:
    """Choose features and strengths, and talk; what is stored of the texts is shown at once."""
    opened = await run_in_threadpool(open_form, library, results, form, settings.max_new_tokens)
    return await _page(request, opened, 200)


@router.post("/steer", include_in_schema=False)
async def steer_form(
    request: Request,
    form: Annotated[SteerForm, Form()],
    client: ClientDep,
    runs: RunsDep,
    results: ResultsDep,
    library: LibraryDep,
    settings: SettingsDep,
) -> Response:
    """For browsers without JavaScript: write everything, then redirect to the result."""
    chips, problem = await run_in_threadpool(read_chips, library, form)
    if form.words:
        problem = f"{problem} “{form.words}” is not the name of a feature: choose one that has these words.".strip()
    opened = OpenForm(form, chips, problem=problem)
    try:
        before = await run_in_threadpool(conversation_after, library, results, form.after if form.chat else "")
        opened = replace(opened, conversation=before)
        if problem:
            return await _page(request, opened, 422)
        body = to_body(form, chips, before.turns)
        plan = await run_in_threadpool(make_plan, library, body, settings.max_new_tokens)
        run = await runs.begin(plan, client)
        problem, status = await while_connected(request, _ending(run))
    except MonosemaError as error:
        return await _page(request, replace(opened, problem=str(error)), status_of(error), error)
    if problem:
        return await _page(request, replace(opened, problem=problem), status)
    return RedirectResponse(f"/r/{run.result}", 303)


async def _ending(run: SteerRun) -> tuple[str, int]:
    """Listen to a run until it is closed. Returns what went wrong, "" for nothing, and its status."""
    async for _ in run.follow():
        pass
    last = run.events[-1].data
    return last.get("detail") or last["note"], last.get("status", 503)


async def _page(request: Request, opened: OpenForm, status: int, refused: MonosemaError | None = None) -> Response:
    state = request.app.state
    opened = await run_in_threadpool(with_matches, state.library, opened)
    run = await run_in_threadpool(run_of, state.library, opened.chips)
    answer: Answer[None] = await ask_for_page(request, state.engine, run, None, refused)
    page = steer_page_of(
        opened,
        answer.off,
        answer.loaded,
        await run_in_threadpool(run.once, showpieces),
        await run_in_threadpool(run.once, demonstrations),
        run.model_name,
        state.engine.status(),
        state.settings.max_new_tokens,
    )
    return respond(request, "steering/steer.html", page, answer, status)


@router.get("/r/{id_}.json")
async def get_result(id_: str, results: ResultsDep) -> SteeringResult:
    """One finished steering: its settings, and every token with its probability and activations."""
    return await _find(results, id_)


@router.get("/r/{id_}", include_in_schema=False)
async def result_page(
    request: Request,
    id_: str,
    results: ResultsDep,
    library: LibraryDep,
    colour: Annotated[TokenColour, Query()] = "none",
) -> Response:
    """The page of a result."""
    result = await _find(results, id_)
    catalogue = await run_in_threadpool(library.catalogue)
    return render(request, "steering/result.html", result_page_of(result, result.is_of(catalogue.runs), colour))


async def _find(results: Results, id_: str) -> SteeringResult:
    result = await run_in_threadpool(results.find, id_)
    if result is None:
        raise NotFoundError("There is no steering result under this address. Only texts that were finished are kept.")
    return result
