"""Steering on the worker's thread: the requests that wait together are written in one batch."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backend.engine.messages import Ended, Finished, Queued, Started, SteerEvent, SteerRequest, SteerRow, Written
from backend.engine.models import Loaded, Models, Needs, models_errors, sink_norm
from backend.engine.worker import Job, Worker
from backend.exceptions import RefusedError

if TYPE_CHECKING:
    from pipeline.models.generate import ReadToken, Reason, Row


class Writer:
    """Writes what steering requests ask for. For the worker's thread alone."""

    def __init__(self, models: Models, worker: Worker, max_rows: int) -> None:
        """max_rows: texts written in one batch."""
        self._models, self._worker, self._max_rows = models, worker, max_rows

    def needs(self, request: SteerRequest) -> Needs:
        """The memory that a request needs."""
        return self._models.needs(request.run, request.saes)

    def write(self, first: "SteerJob") -> None:
        """Write a request, and with it those that wait for the same run, in one batch, which others may join."""
        batch = _Jobs(self._worker, self._models)
        try:
            models_errors(lambda: self._write(first, batch), RefusedError)
        except Exception as error:
            for job in batch.open:
                if job is not first:
                    job.failed(error)
            raise
        finally:
            batch.close()

    def _write(self, first: "SteerJob", batch: "_Jobs") -> None:
        from pipeline.models.generate import End, generate

        run = first.request.run
        loaded = self._models.load(run)

        def admit(found: "Sequence[SteerJob]") -> "list[Row]":
            return [row for job in found for row in self._admitted(job, batch, loaded)]

        share = _FairShare()  # of the time, for those who join and the reading of their prompts

        def joining(writing: int) -> "list[Row]":
            if share.is_used_up:
                return []
            share.begin()
            return admit(self._companions(run.folder, batch.open, writing, in_turn=True))

        rows = admit([first, *self._companions(run.folder, [first], len(first.request.rows))])
        if not rows:
            return
        steps = generate(loaded.decoder, rows, sink_norm=sink_norm(run), cancelled=batch.is_cancelled, joining=joining)
        del rows  # what has ended must not be kept for as long as others join
        for step in steps:
            share.end()
            for event in step:
                job, row = batch.owners[event.row]
                if isinstance(event, End):
                    job.end(row, event.reason)
                    batch.end(event.row)
                else:
                    job.put(row, event)
            self._worker.run_short()

    def _admitted(self, job: "SteerJob", batch: "_Jobs", loaded: Loaded) -> "list[Row]":
        """The rows of a job that comes into a batch; none when it cannot be written."""
        batch.add(job)
        rows = self._rows(job)
        if rows:
            job.start(loaded)
        else:
            batch.leave(job)
        return rows

    def _companions(
        self, folder: Path, jobs: "Sequence[SteerJob]", writing: int, *, in_turn: bool = False
    ) -> "list[SteerJob]":
        """Waiting requests that fit beside `jobs` with `writing` rows: of the same run, each of its own client."""
        room, clients = self._max_rows - writing, {job.request.client for job in jobs}

        def fits(job: SteerJob) -> bool:
            nonlocal room
            request = job.request
            if request.client and request.client in clients:
                return False
            another_run = request.run.folder != folder
            if another_run or len(request.rows) > room:
                # The others wait behind it, so that it does not wait for ever.
                room = 0 if in_turn or not another_run else room
                return False
            room -= len(request.rows)
            clients.add(request.client)
            return True

        return self._worker.take(SteerJob, fits, in_turn=in_turn)

    def _rows(self, job: "SteerJob") -> "list[Row]":
        """The rows of a request; none when it cannot be written, which it is told and the others of a batch are not."""
        try:
            return models_errors(lambda: [self._row(job.request, row) for row in job.request.rows], RefusedError)
        except Exception as error:  # memory that is not there, too: it must not end what is being written
            job.failed(error)
            return []

    def _row(self, request: SteerRequest, row: SteerRow) -> "Row":
        from pipeline.models.generate import Row, Sampling
        from pipeline.models.steering import Clamp

        draw = request.draw
        sampling = Sampling(draw.temperature, draw.top_p, draw.max_new_tokens, draw.seed)
        clamps = [Clamp(self._models.sae(one.sae), one.index, one.value, one.mode) for one in row.held]
        return Row(row.tokens, clamps, sampling, request.scope)


class _FairShare:
    """Half of the time: what was spent at once has to pass before more is spent."""

    def __init__(self) -> None:
        self._began = self._next = time.monotonic()
        self._spending = False

    @property
    def is_used_up(self) -> bool:
        return time.monotonic() < self._next

    def begin(self) -> None:
        """Time is spent from here on."""
        self._began, self._spending = time.monotonic(), True

    def end(self) -> None:
        """It is spent, if any was."""
        if self._spending:
            now = time.monotonic()
            self._next, self._spending = now + (now - self._began), False


class _Jobs:
    """The jobs of a batch. What has ended is forgotten, for a batch may go on as long as others join it."""

    def __init__(self, worker: Worker, models: Models) -> None:
        self._worker, self._models = worker, models
        self._held: dict[SteerJob, ExitStack] = {}
        self._num_rows = 0
        self.owners: dict[int, tuple[SteerJob, int]] = {}
        """By number of a row in the batch: its job, and its number there."""

    @property
    def open(self) -> "list[SteerJob]":
        """The requests with rows that are written, in order."""
        return list(self._held)

    def add(self, job: "SteerJob") -> None:
        """Hold the SAEs of a job, whose rows come next."""
        self._held[job] = ExitStack()
        self._held[job].enter_context(self._models.hold(job.request.saes))
        for row in range(len(job.request.rows)):
            self.owners[self._num_rows] = (job, row)
            self._num_rows += 1

    def leave(self, job: "SteerJob") -> None:
        """Take back a job that was added last, none of whose rows are written."""
        for _ in job.request.rows:
            self._num_rows -= 1
            del self.owners[self._num_rows]
        self._forget(job)

    def end(self, row: int) -> None:
        """A row of the batch has ended."""
        job, _ = self.owners.pop(row)
        if not job.is_open:
            self._forget(job)

    def is_cancelled(self, row: int) -> bool:
        """Whether nobody waits for a row of the batch any more."""
        return self.owners[row][0].cancelled

    def close(self) -> None:
        """Let go of everything."""
        for job in self.open:
            self._forget(job)

    def _forget(self, job: "SteerJob") -> None:
        self._held.pop(job).close()
        self._worker.leave(job)


class SteerJob(Job):
    """One steering request, which tells its listener on the event loop what happens."""

    def __init__(
        self,
        writer: Writer,
        request: SteerRequest,
        loop: asyncio.AbstractEventLoop,
        events: "asyncio.Queue[SteerEvent | Exception]",
    ) -> None:
        super().__init__(writer.needs(request))
        self.request = request
        self._writer, self._loop, self._events = writer, loop, events
        self._open = set(range(len(request.rows)))
        self._num_written = 0

    interrupts = True

    def run(self) -> None:
        self._writer.write(self)

    @property
    def is_open(self) -> bool:
        """Whether some of its rows have not ended."""
        return bool(self._open)

    def start(self, loaded: Loaded) -> None:
        """The first step comes next."""
        from pipeline.models.generate import Detokeniser

        self._began = time.perf_counter()
        self._texts = [Detokeniser(loaded.pieces) for _ in self.request.rows]
        self._tell(Started())

    def put(self, row: int, read: "ReadToken") -> None:
        """A row has read a token."""
        text = self._texts[row].feed(read.token)
        self._num_written += read.probability is not None
        _, token, probability, activations, left_out = read
        self._tell(Written(row, token, text, probability, activations, left_out))

    def end(self, row: int, reason: "Reason") -> None:
        """A row has ended; with the last one the request has."""
        self._tell(Ended(row, reason))
        self._open.discard(row)
        if not self._open:
            self._tell(Finished(time.perf_counter() - self._began, self._num_written))

    def moved(self, ahead: int) -> None:
        self._tell(Queued(ahead))

    def failed(self, error: Exception) -> None:
        self._tell(error)

    def _tell(self, event: SteerEvent | Exception) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server has ended
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
