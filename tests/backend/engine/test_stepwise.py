"""Longer work on the worker's thread, step by step, and who waits for it."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from fastapi import HTTPException, Request

from backend.engine.worker import Call, Stepwise, Worker
from backend.exceptions import StoppedError
from backend.web.clients import while_connected


def test_short_calls_pass_between_steps() -> None:
    worker, order, entered = Worker(4), list[str](), threading.Event()
    go_on = threading.Event()

    def work() -> Iterator[int | None]:
        entered.set()
        assert go_on.wait(10)
        yield None
        order.append("long")
        yield 3

    job = Stepwise(worker, work)
    worker.submit(job)
    assert entered.wait(10)
    short = Call(lambda: order.append("short"))
    worker.submit(short)
    go_on.set()
    assert job.future.result(10) == 3
    assert order == ["short", "long"]
    worker.stop()


@pytest.mark.parametrize("end", [lambda worker, job: job.cancel(), lambda worker, job: worker.stop()])
def test_work_ends_at_the_step_where_it_is_cancelled(end: Callable[[Worker, Stepwise[int]], None]) -> None:
    worker, entered, go_on, steps = Worker(4), threading.Event(), threading.Event(), list[int]()

    def work() -> Iterator[int | None]:
        for step in range(100):
            steps.append(step)
            entered.set()
            assert go_on.wait(10)
            yield None
        yield 1

    job = Stepwise(worker, work)
    worker.submit(job)
    assert entered.wait(10)
    ending = threading.Thread(target=end, args=(worker, job))
    ending.start()
    assert job._cancelled.wait(10)
    go_on.set()
    ending.join(10)
    with pytest.raises(StoppedError):
        job.future.result(10)
    assert len(steps) < 100
    worker.stop()


def test_an_error_goes_to_who_asked() -> None:
    worker = Worker(4)

    def work() -> Iterator[int | None]:
        yield None
        raise ValueError("broken")

    job = Stepwise(worker, work)
    worker.submit(job)
    with pytest.raises(ValueError, match="broken"):
        job.future.result(10)
    worker.stop()


def test_a_closed_connection_cancels_the_work() -> None:
    async def run() -> bool:
        messages = [{"type": "http.request"}, {"type": "http.disconnect"}]
        ended = asyncio.Event()

        async def receive() -> dict[str, str]:
            return messages.pop(0)

        async def work() -> int:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return 1

        with pytest.raises(HTTPException, match="closed"):
            await while_connected(Request({"type": "http"}, receive), work())
        await asyncio.wait_for(ended.wait(), 10)
        return True

    assert asyncio.run(run())


def test_an_open_connection_waits_for_the_work() -> None:
    async def run() -> int:
        async def receive() -> dict[str, str]:
            await asyncio.Event().wait()
            return {}

        async def work() -> int:
            return 7

        return await while_connected(Request({"type": "http"}, receive), work())

    assert asyncio.run(run()) == 7
