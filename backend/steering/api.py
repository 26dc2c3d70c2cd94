"""The API for steering: the stream of events of a run, its state, and the state of the engine."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from backend.engine.engine import EngineStatus
from backend.exceptions import NotFoundError
from backend.html.address import AppPath
from backend.steering.plan import SteerBody, make_plan
from backend.steering.results import Results
from backend.steering.runs import RunEvent, Runs, State, SteerRun
from backend.web.clients import ClientDep
from backend.web.dependencies import EngineDep, LibraryDep, SettingsDep

router = APIRouter(prefix="/api/v1", tags=["live"])


@dataclass(frozen=True)
class RunInfo:
    """The state of a run."""

    id: str
    state: State
    num_events: int
    events: AppPath
    """Address of its stream."""
    result: AppPath | None
    """Address of its result, once that is stored."""


async def get_runs(request: Request) -> Runs:
    """The steering runs."""
    return cast(Runs, request.app.state.runs)


RunsDep = Annotated[Runs, Depends(get_runs)]


async def get_steer_run(id_: str, runs: RunsDep) -> SteerRun:
    """The run that the address names."""
    run = await runs.find(id_)
    if run is None:
        raise NotFoundError("There is no such run here, or it ended too long ago. Finished results are under /r/.")
    return run


SteerRunDep = Annotated[SteerRun, Depends(get_steer_run)]


@router.post("/steer", response_class=StreamingResponse)
async def steer(
    body: SteerBody, client: ClientDep, runs: RunsDep, library: LibraryDep, settings: SettingsDep
) -> Response:
    """Write plain text (row 0) and steered text (row 1, or one row for each strength of a sweep) from the same seed.

    Streams server-sent events: `run` with the run's id and the address of its result, `chat` with the system prompt of
    a chat, `queued` with the requests ahead,
    `started`, `token` for every token that a row has read (the prompt's first, with probability null), `end` of a row,
    then `done`, `error` or `cancelled`. After a lost connection, the run's own address continues the stream.
    """
    plan = await run_in_threadpool(make_plan, library, body, settings.max_new_tokens)
    return event_stream(await runs.begin(plan, client))


@router.get("/status")
def get_status(engine: EngineDep) -> EngineStatus:
    """The models in memory and the length of the queue."""
    return engine.status()


@router.get("/runs/{id_}")
async def get_run_info(run: SteerRunDep) -> RunInfo:
    """The state of a run."""
    return _info(run)


@router.get("/runs/{id_}/events", response_class=StreamingResponse)
async def get_run_events(
    run: SteerRunDep,
    after: Annotated[int, Query(ge=0, description="Number of the last event that was received.")] = 0,
    last_event_id: Annotated[int | None, Header(ge=0, description="The same, as browsers send it.")] = None,
) -> Response:
    """The events of a run that come after a known one, as `POST /api/v1/steer` sends them."""
    return event_stream(run, after if last_event_id is None else last_event_id)


@router.delete("/runs/{id_}")
async def cancel_run(run: SteerRunDep) -> RunInfo:
    """Stop a run: it leaves the queue, or ends at its next token. A run that is closed stays as it is."""
    run.cancel("It was stopped.")
    return _info(run)


def event_stream(run: SteerRun, after: int = 0) -> Response:
    """The events of a run as they come.

    Not by `fastapi.sse`: its endpoints fail when a client disconnects while events are sent (FastAPI's discussion
    15725), and the run would go on counting that listener.
    """
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_lines(run.follow(after)), media_type="text/event-stream", headers=headers)


async def _lines(events: AsyncIterator[RunEvent | None]) -> AsyncIterator[str]:
    async for event in events:
        if event is None:
            yield ": keep-alive\n\n"
        else:
            yield f"id: {event.number}\nevent: {event.name}\ndata: {json.dumps(event.data, allow_nan=False)}\n\n"


def _info(run: SteerRun) -> RunInfo:
    return RunInfo(
        id=run.id,
        state=run.state,
        num_events=len(run.events),
        events=f"/api/v1/runs/{run.id}/events",
        result=f"/r/{run.result}" if run.is_kept else None,
    )


async def get_results(request: Request) -> Results:
    """The store of results."""
    return cast(Results, request.app.state.results)


ResultsDep = Annotated[Results, Depends(get_results)]
