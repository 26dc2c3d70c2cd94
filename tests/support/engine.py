"""Steering requests to an engine without a server."""

from collections.abc import Sequence
from contextlib import aclosing

from backend.engine.engine import Engine
from backend.engine.messages import Draw, SteerRequest, SteerRow, Written
from backend.published.catalogue import OpenRun

DRAW = Draw(temperature=0.8, top_p=0.95, max_new_tokens=8, seed=3)


async def steer(
    engine: Engine, run: OpenRun, rows: Sequence[SteerRow], draw: Draw = DRAW, client: str = ""
) -> list[list[Written]]:
    """All that each row of one request read and wrote, as if it were row 0."""
    read: list[list[Written]] = [[] for _ in rows]
    async with aclosing(engine.steer(SteerRequest(run, list(rows), draw, client=client))) as events:
        async for event in events:
            if isinstance(event, Written):
                _, *rest = vars(event).values()
                read[event.row].append(Written(0, *rest))
    return read
