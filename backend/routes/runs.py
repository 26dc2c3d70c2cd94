"""Runs: what becomes of a steering request, for whoever knows its id, and the state of the engine."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse

from backend.dependencies import EngineDep, RunsDep
from backend.engine import EngineStatus
from backend.errors import not_found
from backend.steering_runs import RunEvent, State, SteerRun

router = APIRouter(prefix="/api/v1", tags=["live"])


@dataclass(frozen=True)
class RunInfo:
    """A run as it stands."""

    id: str
    state: State
    num_events: int
    events: str
    """Address of its stream."""
    result: str | None
    """Address of what it wrote, once that is kept."""


async def get_steer_run(id_: str, runs: RunsDep) -> SteerRun:
    """The run that the address names."""
    run = await runs.find(id_)
    if run is None:
        raise not_found("There is no such run here, or it ended too long ago. What it finished stands under /r/.")
    return run


SteerRunDep = Annotated[SteerRun, Depends(get_steer_run)]


@router.get("/status")
def get_status(engine: EngineDep) -> EngineStatus:
    """What is in memory, and how many wait."""
    return engine.status()


@router.get("/runs/{id_}")
async def get_run_info(run: SteerRunDep) -> RunInfo:
    """How far a run is."""
    return _info(run)


@router.get("/runs/{id_}/events", response_class=StreamingResponse)
async def get_run_events(
    run: SteerRunDep,
    after: Annotated[int, Query(ge=0, description="Number of the last event that is known already.")] = 0,
    last_event_id: Annotated[int | None, Header(ge=0, description="The same, as browsers say it.")] = None,
) -> Response:
    """The events of a run that come after a known one, as `POST /api/v1/steer` sends them."""
    return stream(run, after if last_event_id is None else last_event_id)


@router.delete("/runs/{id_}")
async def cancel_run(run: SteerRunDep) -> RunInfo:
    """Stop a run: it leaves the queue, or ends at its next token. A run that is closed stays as it is."""
    run.cancel("It was stopped.")
    return _info(run)


def stream(run: SteerRun, after: int = 0) -> Response:
    """The events of a run as they come.

    Not by `fastapi.sse`: its endpoints fail over a client who leaves while events are on the way (FastAPI's discussion
    15725), and the run would go on counting that listener.
    """
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_lines(run.follow(after)), media_type="text/event-stream", headers=headers)


async def _lines(events: AsyncIterator[RunEvent | None]) -> AsyncIterator[str]:
    async for event in events:
        if event is None:
            yield ": still here\n\n"
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
