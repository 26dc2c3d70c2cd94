"""A text is the same alone and beside the texts of other clients, whether they wait together or it joins midway."""

import asyncio
from threading import Event

import pytest

from backend.engine.engine import Engine
from backend.engine.messages import Draw, Held, SteerRow, Written
from backend.published.catalogue import OpenRun
from tests.support.engine import DRAW, steer
from tests.support.steering import SECONDS, brake

SWEEP = (-10.0, -2.0, 0.0, 2.0, 10.0)
GREEDY = Draw(temperature=0.0, top_p=1.0, max_new_tokens=12, seed=0)
ALONE_READS = 1 + 12 + 1 + 8
"""Of the model, for texts of 12 and of 8 tokens one after the other: prompts, then token by token."""


def requests(run: OpenRun) -> list[tuple[list[SteerRow], Draw]]:
    """A pair, a sweep, and a text on its own, of three clients."""
    sae, other = run.saes[0], run.saes[2]
    pair = [SteerRow([0, 5, 9, 30], [Held(sae, 3, value)]) for value in (None, 4.0)]
    sweep = [SteerRow([0, 70, 71, 72, 73, 74, 75], [Held(other, 11, value)]) for value in SWEEP]
    return [(pair, GREEDY), (sweep, DRAW), ([SteerRow([0, 40], [Held(sae, 8, 2.0, "add")])], DRAW)]


async def alone(engine: Engine, run: OpenRun) -> list[list[list[Written]]]:
    """Every row as a request of its own."""
    return [[(await steer(engine, run, [row], draw))[0] for row in rows] for rows, draw in requests(run)]


def test_in_one_batch_of_strangers(engine: Engine, run: OpenRun) -> None:
    async def write() -> None:
        expected, let_go = await alone(engine, run), Event()
        busy = asyncio.create_task(engine.call(run, lambda: let_go.wait(SECONDS)))
        asked = [
            asyncio.create_task(steer(engine, run, rows, draw, f"client {number}"))
            for number, (rows, draw) in enumerate(requests(run))
        ]
        while engine.worker.waiting < len(asked):
            await asyncio.sleep(0)
        let_go.set()
        await busy
        assert await asyncio.gather(*asked) == expected

    asyncio.run(write())


def test_joining_what_is_being_written(engine: Engine, run: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    async def write() -> None:
        expected = await alone(engine, run)
        first, second, _ = requests(run)
        with brake(monkeypatch, at=4) as held:
            running = asyncio.create_task(steer(engine, run, *first, "one"))
            assert await asyncio.to_thread(held.reached.wait, SECONDS)
            joining = asyncio.create_task(steer(engine, run, *second, "two"))
            while engine.worker.waiting == 0:
                await asyncio.sleep(0)
            held.let_go.set()
            assert [await running, await joining] == expected[:2]
            assert held.reads < ALONE_READS, "it did not join"

    asyncio.run(write())
