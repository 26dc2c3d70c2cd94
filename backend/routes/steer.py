"""Steering: baseline and steered text side by side, as a page and as a stream of events."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from backend.dependencies import EngineDep, LibraryDep, SettingsDep
from backend.engine import Engine
from backend.errors import OURS, logger, not_found, status_of
from backend.live import Ended, Finished, Queued, SteerEvent, SteerRequest, Written
from backend.showpieces import showpieces
from backend.steering import Plan, SteerBody, make_plan
from backend.steering_page import Outcome, SteerForm, make_page, read_chips, to_body
from backend.templates import render
from data.errors import MonosemaError

router = APIRouter(tags=["live"])

NAMES: dict[type, str] = {Queued: "queued", Written: "token", Ended: "end", Finished: "done"}
"""Events of the stream; `error` is the other one that ends it."""


@router.post("/api/v1/steer", response_class=StreamingResponse)
async def steer(body: SteerBody, engine: EngineDep, library: LibraryDep, settings: SettingsDep) -> Response:
    """Write baseline (row 0) and steered text (row 1) from the same seed.

    Answers server-sent events: `queued` with the requests ahead, `token` for every token that a row has read (the
    prompt's first, with probability null), `end` of a row, then `done` or `error`.
    """
    plan = await run_in_threadpool(make_plan, library, body, settings.max_new_tokens)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_stream(await _begin(engine, plan)), media_type="text/event-stream", headers=headers)


@router.get("/steer", include_in_schema=False)
async def steer_page(
    request: Request, form: Annotated[SteerForm, Query()], engine: EngineDep, library: LibraryDep, settings: SettingsDep
) -> Response:
    """Choose features and strengths, and a prompt."""
    chips, problem = await run_in_threadpool(read_chips, library, form)
    return await _page(request, form, Outcome(chips, problem=problem), engine, library, settings.max_new_tokens)


@router.post("/steer", include_in_schema=False)
async def steer_result(
    request: Request, form: Annotated[SteerForm, Form()], engine: EngineDep, library: LibraryDep, settings: SettingsDep
) -> Response:
    """The same with what was written, for browsers without JavaScript."""
    chips, problem = await run_in_threadpool(read_chips, library, form)
    outcome, status = Outcome(chips, problem=problem), 422
    if not problem:
        try:
            plan = await run_in_threadpool(make_plan, library, to_body(form, chips), settings.max_new_tokens)
            outcome, status = await Outcome.collect(chips, await _begin(engine, plan)), 200
        except MonosemaError as error:
            outcome, status = Outcome(chips, problem=str(error)), status_of(error)
    return await _page(request, form, outcome, engine, library, settings.max_new_tokens, status)


async def _page(
    request: Request,
    form: SteerForm,
    outcome: Outcome,
    engine: Engine,
    library: LibraryDep,
    most: int,
    status: int = 200,
) -> Response:
    catalogue = await run_in_threadpool(library.catalogue)
    if not catalogue.runs:
        raise not_found("Nothing is published yet: run `make demo` first.")
    run = catalogue.saes[outcome.chips[0].place].run if outcome.chips else catalogue.runs[0]
    off = engine.why_off(run)
    if not off:
        engine.prepare(run)
    suggestions = await run_in_threadpool(showpieces, run)
    return render(request, "steer.html", make_page(form, outcome, off, suggestions, most), status)


async def _begin(engine: Engine, plan: Plan) -> AsyncIterator[SteerEvent]:
    """Ask for the rows of a plan. What can be refused is refused here, before anything is answered."""
    tokens = await engine.tokenize(plan.run, plan.prompt, plan.draw.max_new_tokens)
    events = engine.steer(SteerRequest(plan.run, tokens, plan.rows, plan.draw))
    return _all(await anext(events), events)


async def _all(first: SteerEvent, events: AsyncGenerator[SteerEvent]) -> AsyncIterator[SteerEvent]:
    try:
        yield first
        async for event in events:
            yield event
    finally:
        await events.aclose()


async def _stream(events: AsyncIterator[SteerEvent]) -> AsyncIterator[str]:
    try:
        async for event in events:
            yield _event(NAMES[type(event)], asdict(event))
    except MonosemaError as error:
        yield _event("error", {"status": status_of(error), "detail": str(error)})
    except Exception as error:
        logger.error("steering failed", exc_info=error)
        yield _event("error", {"status": 500, "detail": OURS})


def _event(name: str, content: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(content)}\n\n"
