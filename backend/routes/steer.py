"""Steering: the page with its form, and the stream of events behind it."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from backend.clients import ClientDep, know_again
from backend.connections import while_connected
from backend.dependencies import EngineDep, LibraryDep, RunsDep, SettingsDep
from backend.errors import not_found, retry_headers, status_of
from backend.openings import openings
from backend.routes.runs import stream
from backend.showpieces import showpieces
from backend.steering import Chip, SteerBody, make_plan
from backend.steering_page import START_PROMPT, SteerForm, make_page, read_chips, to_body
from backend.steering_runs import SteerRun
from backend.templates import render
from data.errors import MonosemaError

router = APIRouter(tags=["live"])


@router.post("/api/v1/steer", response_class=StreamingResponse)
async def steer(
    body: SteerBody, client: ClientDep, runs: RunsDep, library: LibraryDep, settings: SettingsDep
) -> Response:
    """Write baseline (row 0) and steered text (row 1, or one row for each strength of a sweep) from the same seed.

    Answers server-sent events: `run` with the run's id and the address of its result, `queued` with the requests ahead,
    `started`, `token` for every token that a row has read (the prompt's first, with probability null), `end` of a row,
    then `done`, `error` or `cancelled`. Who loses the connection goes on at the run's own address.
    """
    plan = await run_in_threadpool(make_plan, library, body, settings.max_new_tokens)
    return stream(await runs.begin(plan, client))


@router.get("/steer", include_in_schema=False)
async def steer_page(
    request: Request, form: Annotated[SteerForm, Query()], engine: EngineDep, library: LibraryDep, settings: SettingsDep
) -> Response:
    """Choose features and strengths, and a prompt."""
    if "prompt" not in form.model_fields_set:
        form.prompt = START_PROMPT
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
    """For browsers without JavaScript: write everything, then go to the result."""
    chips, problem = await run_in_threadpool(read_chips, library, form)
    if problem:
        return await _page(request, form, chips, problem, 422)
    try:
        plan = await run_in_threadpool(make_plan, library, to_body(form, chips), settings.max_new_tokens)
        run = await runs.begin(plan, client)
        problem, status = await while_connected(request, _ending(run))
    except MonosemaError as error:
        page = await _page(request, form, chips, str(error), status_of(error))
        page.headers.update(retry_headers(error))
        return page
    if problem:
        return await _page(request, form, chips, problem, status)
    return RedirectResponse(f"/r/{run.result}", 303)


async def _ending(run: SteerRun) -> tuple[str, int]:
    """Listen to a run until it is closed. Returns what went wrong, "" for nothing, and its status."""
    async for _ in run.follow():
        pass
    last = run.events[-1].data
    return last.get("detail") or last["note"], last.get("status", 503)


async def _page(request: Request, form: SteerForm, chips: list[Chip], problem: str, status: int) -> Response:
    state = request.app.state
    catalogue = await run_in_threadpool(state.library.catalogue)
    if not catalogue.runs:
        raise not_found("Nothing is published yet: run `make demo` first.")
    run = catalogue.saes[chips[0].place].run if chips else catalogue.runs[0]
    off = state.engine.why_off(run)
    if not off:
        state.engine.prepare(run)
    page = make_page(
        form,
        chips,
        problem,
        off,
        state.engine.is_loaded(run),
        await run_in_threadpool(showpieces, run),
        await run_in_threadpool(openings, run),
        state.engine.status(),
        state.settings.max_new_tokens,
    )
    return know_again(request, render(request, "steering/steer.html", page, status))
