"""Steering runs: each request is a run, whose listeners may join, leave, come back, and stop it.

A request whose result stands in the store is a run as well, under the id of its result: all its events are there at
once, made from the result on request. Any other run is driven by its own task, not by a connection. A
listener gets all events from the first one that it missed; without listeners for a while, the run is cancelled.
For the event loop only.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from starlette.concurrency import run_in_threadpool

from backend.engine.engine import Engine
from backend.engine.messages import Ended, Finished, Queued, Started, SteerEvent, SteerRequest, SteerRow, Written
from backend.exceptions import StoreFullError, TooManyError
from backend.html.address import rooted
from backend.html.tokens import written_text
from backend.settings import Settings
from backend.steering.plan import Plan
from backend.steering.results import Collector, Results, SteeringResult, result_id, token_result
from backend.web.clients import OPEN_PER_CLIENT, Client
from backend.web.problems import UNEXPECTED_DETAIL, logger, status_of
from data.errors import MonosemaError

State = Literal["queued", "writing", "finished", "failed", "cancelled"]
NAMES: dict[type, str] = {Queued: "queued", Started: "started", Finished: "done"}
FIRST_LISTENER_SECONDS = 5.0
"""Time for the first listener to connect after a run begins."""
HEARTBEAT_SECONDS = 15.0
"""Longest time without a message to a listener."""
CLOSED_RUNS_KEPT = 64
"""Closed runs whose events can still be fetched, by a client that lost the connection."""


@dataclass(frozen=True)
class RunEvent:
    """Something that happened in a run."""

    number: int
    """From 1: the id of the event in the stream."""
    name: str
    """run, chat, queued, started, token, end; then done, error or cancelled, which is the last."""
    data: dict[str, Any]


class SteerRun:
    """One request and all that has happened in it."""

    def __init__(
        self, result: str, rows: Sequence[str], client: Client | None = None, grace: float = 0.0, id_: str = ""
    ) -> None:
        """client: its owner; None for a stored result. grace: see `Settings.live_grace_seconds`. id_: a
        random one when it is empty."""
        self.id = id_ or secrets.token_urlsafe(12)
        self.result = result
        """Id of the result that it will have."""
        self.client = client
        self.state: State = "queued"
        self.is_kept = False
        """Whether its result is stored."""
        self.events: list[RunEvent] = []
        self.task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._grace = grace
        self._num_listeners = 0
        self._timer: asyncio.TimerHandle | None = None
        events = f"/api/v1/runs/{self.id}/events"
        addresses = {"events": rooted(events), "result": rooted(f"/r/{result}")}
        self.add("run", {"id": self.id, "rows": list(rows), **addresses})

    @property
    def is_open(self) -> bool:
        return self.state in ("queued", "writing")

    def add(self, name: str, data: dict[str, Any], state: State | None = None) -> None:
        """Add an event, and notify the listeners."""
        self.state = state or self.state
        self.events.append(RunEvent(len(self.events) + 1, name, data))
        self._news.set()
        self._news = asyncio.Event()

    def finish(self, event: Finished, state: State, note: str) -> None:
        """End it when all is written. note: why it was stopped, or why its result is not stored; "" when it is."""
        if state == "cancelled":
            self.add("cancelled", {"detail": note}, state)
        else:
            self.is_kept = not note
            result = rooted(f"/r/{self.result}") if self.is_kept else None
            self.add("done", {**asdict(event), "result": result, "stored": False, "note": note}, state)

    def fail(self, error: Exception) -> None:
        """End it with an error."""
        if isinstance(error, MonosemaError):
            self.add("error", {"status": status_of(error), "detail": str(error)}, "failed")
        else:
            logger.error("steering failed", exc_info=error)
            self.add("error", {"status": 500, "detail": UNEXPECTED_DETAIL}, "failed")

    def cancel(self, why: str) -> None:
        """End it now; what waits leaves the queue, what is being written stops at its next token."""
        if self.is_open:
            self.add("cancelled", {"detail": why}, "cancelled")
            if self.task is not None:
                self.task.cancel()

    def expect_listener(self, at_least: float = 0.0) -> None:
        """Cancel it unless a listener connects soon; within the grace, or `at_least` seconds."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(at_least, self._grace), self.cancel, "The client disconnected.")

    async def follow(self, after: int = 0) -> AsyncIterator[RunEvent | None]:
        """All events from number `after` + 1 to the last. None is sent after a while without events."""
        self._num_listeners += 1
        if self._timer is not None:
            self._timer.cancel()
        try:
            while True:
                news = self._news
                while after < len(self.events):
                    yield self.events[after]
                    after += 1
                if not self.is_open:
                    return
                try:
                    await asyncio.wait_for(news.wait(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield None
        finally:
            self._num_listeners -= 1
            if self._num_listeners == 0 and self.is_open:
                self.expect_listener()


class Runs:
    """All runs of this server."""

    def __init__(self, engine: Engine, results: Results, settings: Settings) -> None:
        self._engine, self._results, self._settings = engine, results, settings
        self._runs: dict[str, SteerRun] = {}

    async def find(self, id_: str) -> SteerRun | None:
        """A run that is open, or was not long ago, or whose result is stored."""
        return self._runs.get(id_) or await self._stored(id_)

    async def begin(self, plan: Plan, client: Client) -> SteerRun:
        """Start a run, or return the one of a stored result.

        Raises before anything is written: TooManyError, RefusedError, EngineOffError, BusyError,
        TooSlowError.
        """
        if stored := await self._stored(result_id(plan)):
            return stored
        self._admit(client)
        run = SteerRun(result_id(plan), [row.title for row in plan.rows], client, self._settings.live_grace_seconds)
        self._register(run)  # counts from here on
        try:
            await self._start(run, plan, client)
        except BaseException:
            del self._runs[run.id]
            raise
        return run

    async def _stored(self, id_: str) -> SteerRun | None:
        """The run of a result that is stored."""
        result = await run_in_threadpool(self._results.find, id_)
        return None if result is None else _replay(result)

    async def _start(self, run: SteerRun, plan: Plan, client: Client) -> None:
        plain, steered, system = await self._prompts(plan)
        rows = [SteerRow(steered if place else plain, row.held) for place, row in enumerate(plan.rows)]
        request = SteerRequest(plan.run, rows, plan.draw, plan.scope, client.name)
        events = self._engine.steer(request)
        first = await anext(events)
        if plan.prompt.chat:
            run.add("chat", {"system": system})
        collector = Collector(plan, system)
        run.add(*event_payload(first, collector))
        run.task = asyncio.create_task(self._drive(run, collector, events))
        run.expect_listener(FIRST_LISTENER_SECONDS)

    async def _prompts(self, plan: Plan) -> tuple[list[int], list[int], str]:
        """The tokens that the plain text and those that the steered ones go on from, and a chat's system prompt."""
        room = plan.draw.max_new_tokens
        if not plan.prompt.chat:
            tokens = await self._engine.tokenize(plan.run, plan.prompt, room)
            return tokens, tokens, ""
        conversations = [plan.conversation(steered=steered) for steered in (False, True)]
        plain, steered = await self._engine.chats(plan.run, conversations, room)
        said = [piece for piece, role in zip(plain.pieces, plain.roles, strict=True) if role == "system"]
        return plain.tokens, steered.tokens, b"".join(said).decode("utf-8", "replace").strip()

    async def stop(self) -> None:
        """End all runs, because the server shuts down."""
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        for run in self._runs.values():
            run.cancel("The server is shutting down.")
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drive(self, run: SteerRun, collector: Collector, events: AsyncGenerator[SteerEvent]) -> None:
        try:
            async for event in events:
                result = collector.add(event)
                if isinstance(event, Finished):
                    run.finish(event, *await self._store(result))
                else:
                    state: State | None = "writing" if isinstance(event, Started) else None
                    run.add(*event_payload(event, collector), state)
        except Exception as error:
            run.fail(error)
        finally:
            await events.aclose()

    async def _store(self, result: SteeringResult | None) -> tuple[State, str]:
        """Store a result; returns the final state of its run, and a note."""
        if result is None:
            return "cancelled", "It was stopped."
        try:
            await run_in_threadpool(self._results.keep, result)
        except StoreFullError as error:
            return "finished", f"This result is not stored. {error}"
        return "finished", ""

    def _admit(self, client: Client) -> None:
        live = [run.client for run in self._runs.values() if run.is_open and run.client is not None]
        if live.count(client) >= OPEN_PER_CLIENT:
            raise TooManyError(
                "You already have one request running and one waiting: wait until one is finished, or stop it."
            )
        limit = self._settings.live_per_address
        if sum(other.address == client.address for other in live) >= limit:
            raise TooManyError(f"{limit} requests from your network are open already: try again in a few seconds.")

    def _register(self, run: SteerRun) -> None:
        self._runs[run.id] = run
        closed = [other for other in self._runs.values() if not other.is_open]
        for other in closed[: max(0, len(closed) - CLOSED_RUNS_KEPT)]:
            del self._runs[other.id]


def _replay(result: SteeringResult) -> SteerRun:
    """The run of a stored result."""
    run = SteerRun(result.id, [row.title for row in result.rows], id_=result.id)
    if result.chat:
        run.add("chat", {"system": result.system})
    for number, row in enumerate(result.rows):
        for token in row.tokens:
            run.add("token", {"row": number, **token.model_dump(), "shown": written_text(token.text)})
        run.add("end", {"row": number, "reason": row.ending, "note": row.said})
    run.is_kept = True
    done = {
        "seconds": result.seconds, "num_tokens": result.num_tokens, "result": rooted(result.href), "stored": True,
        "note": "",
    }  # fmt: skip
    run.add("done", done, "finished")
    return run


def event_payload(event: SteerEvent, collector: Collector) -> tuple[str, dict[str, Any]]:
    """Name and content of an event."""
    if isinstance(event, Written):
        kept = token_result(event)
        return "token", {"row": event.row, **kept.model_dump(), "shown": written_text(event.text)}
    if isinstance(event, Ended):
        return "end", {**asdict(event), "note": collector.said(event)}
    return NAMES[type(event)], asdict(event)
