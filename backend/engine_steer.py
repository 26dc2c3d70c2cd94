"""What the worker does to steer: the requests that wait together are written in one batch."""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from backend.engine_models import Loaded, Models, Needs, models_errors, sink_norm
from backend.live import Ended, Finished, Held, Queued, RefusedError, Started, SteerEvent, SteerRequest, Written
from backend.worker import Job, Worker
from data.errors import MonosemaError

if TYPE_CHECKING:
    from pipeline.models.generate import Position, Reason, Row


class Writer:
    """Writes what steering requests ask for. For the worker's thread alone."""

    def __init__(self, models: Models, worker: Worker, most_rows: int) -> None:
        """most_rows: texts written in one batch."""
        self._models, self._worker, self._most_rows = models, worker, most_rows

    def needs(self, request: SteerRequest) -> Needs:
        """What a request needs in memory."""
        return self._models.needs(request.run, request.saes)

    def write(self, first: "SteerJob") -> None:
        """Write a request, and with it those that wait for the same run, in one batch."""
        jobs = [first, *self._companions(first)]
        try:
            with self._models.hold(sae for job in jobs for sae in job.request.saes):
                models_errors(lambda: self._write(jobs), RefusedError)
        except Exception as error:
            for job in jobs[1:]:
                job.failed(error)
            raise

    def _write(self, jobs: "list[SteerJob]") -> None:
        from pipeline.models.generate import End, generate

        run = jobs[0].request.run
        loaded = self._models.load(run)
        rows, owners = [], []
        for job in jobs:
            if job_rows := self._rows(job):
                job.start(loaded)
                rows += job_rows
                owners += [(job, row) for row in range(len(job_rows))]
        if not rows:
            return
        steps = generate(loaded.decoder, rows, sink_norm=sink_norm(run), cancelled=lambda row: owners[row][0].cancelled)
        for step in steps:
            for event in step:
                job, row = owners[event.row]
                if isinstance(event, End):
                    job.end(row, event.reason)
                else:
                    job.put(row, event)
            self._worker.run_short()

    def _companions(self, first: "SteerJob") -> list["SteerJob"]:
        """Those that fit into the batch: of the same run, each of another client."""
        room, clients = self._most_rows - len(first.request.rows), {first.request.client}

        def fits(job: SteerJob) -> bool:
            nonlocal room
            request = job.request
            another = request.client == "" or request.client not in clients
            fitting = another and request.run.folder == first.request.run.folder and len(request.rows) <= room
            if fitting:
                room -= len(request.rows)
                clients.add(request.client)
            return fitting

        return self._worker.take(SteerJob, fits)

    def _rows(self, job: "SteerJob") -> "list[Row]":
        """The rows of a request; none when it cannot be written, which it is told and the others of a batch are not."""
        try:
            return models_errors(lambda: [self._row(job.request, held) for held in job.request.rows], RefusedError)
        except MonosemaError as error:
            job.failed(error)
            return []

    def _row(self, request: SteerRequest, held: Sequence[Held]) -> "Row":
        from pipeline.models.generate import Row, Sampling
        from pipeline.models.steering import Clamp

        draw = request.draw
        sampling = Sampling(draw.temperature, draw.top_p, draw.max_new_tokens, draw.seed)
        clamps = [Clamp(self._models.sae(one.sae), one.index, one.value, one.mode) for one in held]
        return Row(request.tokens, clamps, sampling, request.scope)


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

    def run(self) -> None:
        self._writer.write(self)

    def start(self, loaded: Loaded) -> None:
        """The first step comes next."""
        from pipeline.models.generate import Detokeniser

        self._began = time.perf_counter()
        self._texts = [Detokeniser(loaded.pieces) for _ in self.request.rows]
        self._tell(Started())

    def put(self, row: int, position: "Position") -> None:
        """A row has read a token."""
        text = self._texts[row].feed(position.token)
        self._num_written += position.probability is not None
        _, token, probability, activations, left_out = position
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
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
