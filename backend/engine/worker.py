"""One thread that does all work with the language model, and the bounded queue before it."""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import islice
from typing import Generic, TypeVar

from backend.exceptions import BusyError, StoppedError
from data.errors import ServeError

T = TypeVar("T")
J = TypeVar("J", bound="Job")

STOP_SECONDS = 10.0
"""Longest time that a shutdown waits for a step of the model."""

logger = logging.getLogger("monosema")


def all_equal(needs: Sequence[Hashable]) -> bool:
    """The simplest rule for which jobs fit into memory together: those with equal needs."""
    return len(set(needs)) <= 1


class Job(ABC):
    """Something for the worker to do."""

    def __init__(self, needs: Hashable = None) -> None:
        """needs: what must be in memory for it."""
        self.needs = needs
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop it, because nobody waits for it any more. May be called from any thread, also while it runs."""
        self._cancelled.set()

    @abstractmethod
    def run(self) -> None:
        """Do the work, on the worker's thread. Its exceptions go to `failed`."""

    @abstractmethod
    def failed(self, error: Exception) -> None:
        """Report an error to the caller."""

    interrupts = False
    """Whether it may run between two steps of a long job that gives way."""

    def moved(self, ahead: int) -> None:
        """Report the number of jobs ahead of it in the queue. Does nothing by default."""
        return


class Call(Job, Generic[T]):
    """A short function, with a future for its result."""

    def __init__(self, function: Callable[[], T], needs: Hashable = None) -> None:
        super().__init__(needs)
        self._function = function
        self.future: Future[T] = Future()

    def run(self) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(self._function())

    def failed(self, error: Exception) -> None:
        set_failure(self.future, error)


def set_failure(future: Future[T], error: Exception) -> None:
    """Set an error on a future, unless it is done or cancelled, even at this very moment."""
    with suppress(InvalidStateError):
        future.set_exception(error)


class Worker:
    """A daemon thread that starts with the first job."""

    def __init__(self, capacity: int, room_for: Callable[[Sequence[Hashable]], bool] = all_equal) -> None:
        """capacity: jobs that may wait, beside the one that runs. room_for: whether what several jobs need finds room
        in memory together; jobs for which there is none beside those that run wait for their end."""
        self._capacity, self._room_for = capacity, room_for
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        # The running job, the jobs that it took out of the queue, and the job that interrupts it, if any.
        self._running: list[Job] = []
        self._interrupted = False
        self._stopped = False

    def submit(self, job: Job) -> None:
        """Put a job at the end of the queue. Raises BusyError when that is full, StoppedError when the server ends."""
        with self._changed:
            if self._stopped:
                raise StoppedError("the server is shutting down: try again in a moment")
            self._drop_cancelled()
            if len(self._waiting) >= self._capacity:
                raise BusyError(f"the queue is full ({self._capacity} requests): try again in a few seconds")
            job.moved(len(self._waiting) + bool(self._running))
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="monosema-worker", daemon=True)
                self._thread.start()
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    def take(self, kind: type[J], fits: Callable[[J], bool], *, in_turn: bool = False) -> list[J]:
        """Take jobs of a kind out of the queue, first come first, that fit, to run with the job that runs.

        in_turn: only those whose turn it would be, so that others do not wait for ever: none behind a job of another
        kind or one without room in memory, and none at all while a long job gives way.
        """
        running = self._needs()

        def joins(job: J) -> bool:
            joining = self._room_for([*running, job.needs]) and fits(job)
            if joining:
                running.append(job.needs)
            return joining

        with self._changed:
            self._drop_cancelled()
            taken = self._pick(kind, joins, self._num_in_turn(kind) if in_turn else None)
            self._running += taken
        return taken

    def run_short(self) -> None:
        """Do all calls that wait, for the job that runs to let them pass between two of its steps.

        Those that need what finds no room beside it wait for its end.
        """
        if self._waiting:
            with self._changed:
                running = self._needs()
                calls = self._pick(Call, lambda job: self._room_for([*running, job.needs]))
            for job in calls:
                _run(job)

    def leave(self, job: Job) -> None:
        """Remove a job that ended before the others that it ran with."""
        with self._changed:
            if job in self._running:
                self._running.remove(job)

    def give_way(self) -> None:
        """Run the first job that waits, may interrupt and finds room, for a long one to let it pass."""
        with self._changed:
            self._drop_cancelled()
            outer = list(self._running)
            fitting = (job for job in self._waiting if job.interrupts and self._room_for([*self._needs(), job.needs]))
            job = next(fitting, None)
            if job is None:
                return
            self._waiting.remove(job)
            self._running, self._interrupted = [*outer, job], True
            self._report_places()
        _run(job)
        with self._changed:
            self._running, self._interrupted = outer, False

    def stop(self) -> None:
        """Refuse new work, drop what waits, cancel what runs, all jobs of a batch. Waits for it to end."""
        with self._changed:
            self._stopped = True
            dropped, self._waiting = list(self._waiting), deque()
            for job in self._running:
                job.cancel()
            self._changed.notify()
        for job in dropped:
            job.failed(StoppedError("the server is shutting down: try again in a moment"))
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            _run(job)
            with self._changed:
                self._running = []

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._stopped)
            if self._stopped:
                return None
            job = self._waiting.popleft()
            self._running = [job]
            self._report_places()
            return job

    def _report_places(self) -> None:
        for ahead, other in enumerate(self._waiting, start=1):
            other.moved(ahead)

    def _needs(self) -> list[Hashable]:
        """Of the jobs that run."""
        return [job.needs for job in self._running]

    def _num_in_turn(self, kind: type[Job]) -> int:
        """The number of jobs at the head of the queue that are of a kind and fit beside the running ones."""
        if self._interrupted:
            return 0
        running = self._needs()
        others = (
            place
            for place, job in enumerate(self._waiting)
            if not isinstance(job, kind) or not self._room_for([*running, job.needs])
        )
        return next(others, len(self._waiting))

    def _pick(self, kind: type[J], fits: Callable[[J], bool], reach: int | None = None) -> list[J]:
        """With the lock held: take jobs out of the first `reach` of the queue."""
        self._drop_cancelled()
        picked = [job for job in islice(self._waiting, reach) if isinstance(job, kind) and fits(job)]
        self._waiting = deque(job for job in self._waiting if job not in picked)
        if picked:
            self._report_places()
        return picked

    def _drop_cancelled(self) -> None:
        self._waiting = deque(job for job in self._waiting if not job.cancelled)


def _run(job: Job) -> None:
    if job.cancelled:
        return
    try:
        job.run()
    except Exception as error:  # reported to the caller; the worker goes on
        if not isinstance(error, ServeError):
            logger.debug("a job failed", exc_info=error)
        job.failed(error)


TURN_SECONDS = 1.0
"""The shortest time that a longer function works before it gives way to requests for text."""


class Stepwise(Job, Generic[T]):
    """A longer function in steps. Between two of them short calls pass, and it may be cancelled.

    After a turn of its own it gives way to one other job, and then has as long a turn as that one had, or longer.
    """

    def __init__(self, worker: Worker, function: Callable[[], Iterator[T | None]], needs: Hashable = None) -> None:
        """function: yields None after each step, and at last its result."""
        super().__init__(needs)
        self._worker, self._function = worker, function
        self.future: Future[T] = Future()

    def run(self) -> None:
        turn, began = TURN_SECONDS, time.monotonic()
        for result in self._function():
            if self.cancelled:
                self.failed(StoppedError("the work was stopped before it was finished: try again"))
                return
            if result is not None:
                self.future.set_result(result)
                return
            self._worker.run_short()
            if (now := time.monotonic()) - began >= turn:
                self._worker.give_way()
                began = time.monotonic()
                turn = max(TURN_SECONDS, began - now)

    def failed(self, error: Exception) -> None:
        set_failure(self.future, error)
