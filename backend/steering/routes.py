"""The steering page with its form, and the pages of results: immutable, each under its own address."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from backend.exceptions import NotFoundError
from backend.html.templates import render
from backend.published.lookup import require_runs
from backend.published.showpieces import showpieces
from backend.steering.api import ResultsDep, RunsDep
from backend.steering.openings import openings
from backend.steering.page import (
    DEFAULT_PROMPT,
    SteerForm,
    TokenColour,
    read_chips,
    result_page_of,
    steer_page_of,
    to_body,
)
from backend.steering.plan import Chip, make_plan
from backend.steering.results import Results, SteeringResult
from backend.steering.runs import SteerRun
from backend.web.clients import ClientDep, while_connected
from backend.web.dependencies import EngineDep, LibraryDep, SettingsDep
from backend.web.live import Answer, ask_for_page, respond
from backend.web.problems import status_of
from data.errors import MonosemaError

router = APIRouter(tags=["live"])


@router.get("/steer", include_in_schema=False)
async def steer_page(
    request: Request, form: Annotated[SteerForm, Query()], engine: EngineDep, library: LibraryDep, settings: SettingsDep
) -> Response:
    """Choose features and strengths, and a prompt."""
    if "prompt" not in form.model_fields_set:
        form = form.changed(prompt=DEFAULT_PROMPT)
    chips, problem = await run_in_threadpool(read_chips, library, form)
    return await _page(request, form, chips, problem, 200)


@router.post("/steer", include_in_schema=False)
async def steer_form(
    request: Request,
    form: Annotated[SteerForm, Form()],
    client: ClientDep,
    runs: RunsDep,
    library: LibraryDep,
    settings: SettingsDep,
) -> Response:
    """For browsers without JavaScript: write everything, then redirect to the result."""
    chips, problem = await run_in_threadpool(read_chips, library, form)
    if problem:
        return await _page(request, form, chips, problem, 422)
    try:
        plan = await run_in_threadpool(make_plan, library, to_body(form, chips), settings.max_new_tokens)
        run = await runs.begin(plan, client)
        problem, status = await while_connected(request, _ending(run))
    except MonosemaError as error:
        return await _page(request, form, chips, str(error), status_of(error), error)
    if problem:
        return await _page(request, form, chips, problem, status)
    return RedirectResponse(f"/r/{run.result}", 303)


async def _ending(run: SteerRun) -> tuple[str, int]:
    """Listen to a run until it is closed. Returns what went wrong, "" for nothing, and its status."""
    async for _ in run.follow():
        pass
    last = run.events[-1].data
    return last.get("detail") or last["note"], last.get("status", 503)


async def _page(
    request: Request,
    form: SteerForm,
    chips: list[Chip],
    problem: str,
    status: int,
    refused: MonosemaError | None = None,
) -> Response:
    state = request.app.state
    catalogue = await run_in_threadpool(state.library.catalogue)
    require_runs(catalogue)
    run = catalogue.saes[chips[0].place].run if chips else catalogue.runs[0]
    answer: Answer[None] = await ask_for_page(request, state.engine, run, None, refused)
    page = steer_page_of(
        form,
        chips,
        problem,
        answer.off,
        answer.loaded,
        await run_in_threadpool(showpieces, run),
        await run_in_threadpool(run.once, openings),
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
    colour: Annotated[TokenColour, Query()] = "activation",
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
