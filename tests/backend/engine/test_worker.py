"""One thread, a bounded queue, and who is told what."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from backend.engine.worker import Call, Job, Stepwise, Worker
from backend.exceptions import BusyError, StoppedError


class Held(Job):
    """Runs until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.submitted, self.began, self.let_go = threading.Event(), threading.Event(), threading.Event()
        self.places: list[int] = []
        self.error: Exception | None = None

    def run(self) -> None:
        self.began.set()
        assert self.let_go.wait(10)

    def failed(self, error: Exception) -> None:
        self.error = error

    def moved(self, ahead: int) -> None:
        self.places.append(ahead)

    def cancel(self) -> None:
        super().cancel()
        self.let_go.set()


def test_calls_run_in_order_on_one_thread() -> None:
    worker, threads = Worker(10), list[threading.Thread]()

    def note() -> int:
        threads.append(threading.current_thread())
        return len(threads)

    calls = [Call(note) for _ in range(3)]
    for call in calls:
        worker.submit(call)
    assert [call.future.result(10) for call in calls] == [1, 2, 3]
    assert len(set(threads)) == 1
    worker.stop()


def test_a_full_queue_refuses_and_waiting_jobs_learn_their_place() -> None:
    worker, running, first, second = Worker(2), Held(), Held(), Held()
    worker.submit(running)
    assert running.began.wait(10)
    worker.submit(first)
    worker.submit(second)
    with pytest.raises(BusyError, match="2 requests"):
        worker.submit(Held())
    running.let_go.set()
    assert first.began.wait(10)
    assert (first.places, second.places) == ([1], [2, 1])
    first.let_go.set()
    second.let_go.set()
    worker.stop()


def test_cancelled_jobs_make_room_and_never_run() -> None:
    worker, running, waiting, last = Worker(1), Held(), Held(), Held()
    worker.submit(running)
    assert running.began.wait(10)
    worker.submit(waiting)
    waiting.cancel()
    worker.submit(last)
    running.let_go.set()
    assert last.began.wait(10)
    assert not waiting.began.is_set()
    last.let_go.set()
    worker.stop()


def test_errors_go_to_who_asked_and_the_worker_lives_on() -> None:
    worker = Worker(4)
    broken, fine = Call(lambda: 1 / 0), Call(lambda: 5)
    worker.submit(broken)
    worker.submit(fine)
    with pytest.raises(ZeroDivisionError):
        broken.future.result(10)
    assert fine.future.result(10) == 5
    worker.stop()


def test_short_calls_pass_between_the_steps_of_a_long_job() -> None:
    worker, passed = Worker(4), []

    class Long(Job):
        def run(self) -> None:
            began.set()
            assert queued.wait(10)
            worker.run_short()
            passed.append((call.future.done(), of_another_model.future.done()))

        def failed(self, error: Exception) -> None:
            raise AssertionError(error)

    began, queued = threading.Event(), threading.Event()
    call, of_another_model = Call(lambda: "answer", "model"), Call(lambda: "later", "another model")
    worker.submit(Long("model"))
    assert began.wait(10)
    worker.submit(of_another_model)
    worker.submit(call)
    queued.set()
    assert call.future.result(10) == "answer"
    assert of_another_model.future.result(10) == "later"
    worker.stop()
    assert passed == [(True, False)]


def test_jobs_join_only_while_there_is_room_for_what_all_of_them_need() -> None:
    def room_for(needs: Sequence[object]) -> bool:
        return len(set(needs)) <= 2

    worker, others, passed = Worker(9, room_for), [Held() for _ in range(4)], threading.Event()
    for job, needs in zip(others, ("a", "b", "c", "b"), strict=True):
        job.needs = needs
    taken: list[Job] = []
    fitting, waits = Call(lambda: "now", "b"), Call(lambda: "later", "c")

    class Batch(Held):
        def run(self) -> None:
            assert others[-1].submitted.wait(10)
            taken.extend(worker.take(Held, lambda job: True))
            worker.run_short()
            assert (fitting.future.done(), waits.future.done()) == (True, False)
            passed.set()

    batch = Batch()
    batch.needs = "a"
    worker.submit(batch)
    for job in (*others[:3], fitting, waits, others[3]):
        worker.submit(job)
    others[3].submitted.set()
    assert passed.wait(10)
    assert taken == [others[0], others[1], others[3]]
    others[2].let_go.set()
    assert waits.future.result(10) == "later"
    worker.stop()


def test_jobs_join_in_their_turn_only() -> None:
    worker, others, passed = Worker(9), [Held() for _ in range(4)], threading.Event()
    between, taken = Call(lambda: "between", "other"), list[Job]()

    class Batch(Held):
        def run(self) -> None:
            assert others[-1].submitted.wait(10)
            taken.extend(worker.take(Held, lambda job: job is not others[0], in_turn=True))
            passed.set()

    worker.submit(Batch())
    for job in (*others[:3], between, others[3]):
        worker.submit(job)
    others[3].submitted.set()
    assert passed.wait(10)
    assert taken == others[1:3], "the first does not fit, the last stands behind a job of another kind"
    for job in others:
        job.let_go.set()
    assert between.future.result(10) == "between"
    worker.stop()


def test_a_long_job_gives_way_to_one_that_may_interrupt() -> None:
    worker, order, queued = Worker(9), list[str](), threading.Event()

    class Interrupting(Held):
        interrupts = True

        def run(self) -> None:
            assert worker.take(Held, lambda job: True, in_turn=True) == [], "nobody joins while a long job waits"
            order.append("interrupting")

    class Long(Held):
        def run(self) -> None:
            assert queued.wait(10)
            for name in ("first", "second", "third"):
                order.append(name)
                worker.give_way()

    plain, interrupting, last = Call(lambda: order.append("plain")), Interrupting(), Interrupting()
    worker.submit(Long())
    for job in (plain, interrupting, last):
        worker.submit(job)
    queued.set()
    plain.future.result(10)
    worker.stop()
    assert order == ["first", "interrupting", "second", "interrupting", "third", "plain"]
    assert last.places[-1] == 2, "once the other is taken, only the plain one stands before it"


def test_stopping_cancels_a_job_and_what_interrupts_it() -> None:
    worker, outer_began, inner = Worker(9), threading.Event(), Held()
    inner.interrupts = True  # type: ignore[misc]

    class Long(Held):
        def run(self) -> None:
            assert inner.submitted.wait(10)
            worker.give_way()
            outer_began.set()

    outer = Long()
    worker.submit(outer)
    worker.submit(inner)
    inner.submitted.set()
    assert inner.began.wait(10)
    worker.stop()
    assert outer_began.wait(10)
    assert (outer.cancelled, inner.cancelled) == (True, True)


def test_stopping_cancels_what_runs_and_fails_what_waits() -> None:
    worker, running, waiting = Worker(4), Held(), Held()
    worker.submit(running)
    assert running.began.wait(10)
    worker.submit(waiting)
    worker.stop()
    assert running.cancelled
    assert isinstance(waiting.error, StoppedError)
    with pytest.raises(StoppedError):
        worker.submit(Held())


def test_stopping_cancels_every_job_of_a_batch() -> None:
    worker, companions, taken = Worker(4), [Held(), Held()], threading.Event()

    class Batch(Held):
        def run(self) -> None:
            assert companions[1].submitted.wait(10)
            assert worker.take(Held, lambda job: True) == companions
            taken.set()
            super().run()

    batch = Batch()
    for job in (batch, *companions):
        worker.submit(job)
        job.submitted.set()
    assert taken.wait(10)
    worker.stop()
    assert [job.cancelled for job in (batch, *companions)] == [True] * 3
    assert [job.error for job in companions] == [None, None]


def test_a_batch_that_is_done_leaves_nobody_to_cancel() -> None:
    worker, companion, after = Worker(4), Held(), Held()

    class Batch(Held):
        def run(self) -> None:
            assert companion.submitted.wait(10)
            worker.take(Held, lambda job: job is companion)

    worker.submit(Batch())
    worker.submit(companion)
    companion.submitted.set()
    worker.submit(after)
    assert after.began.wait(10)
    worker.stop()
    assert after.cancelled
    assert not companion.cancelled


def test_who_goes_away_while_a_failure_is_told_does_not_end_the_worker() -> None:
    worker, stepping, gone = Worker(4), threading.Event(), threading.Event()

    def fail() -> Iterator[int | None]:
        stepping.set()
        assert gone.wait(10)
        raise ValueError("too late")
        yield 1

    job: Stepwise[int] = Stepwise(worker, fail)
    worker.submit(job)
    assert stepping.wait(10)
    # Gone after it was seen to be there, and before it is told.
    job.future.cancelled = lambda: False  # type: ignore[method-assign]
    assert job.future.cancel()
    gone.set()
    following = Call(lambda: 7)
    worker.submit(following)
    assert following.future.result(10) == 7
    worker.stop()
