"""Runs of steering over HTTP: leaving, coming back, stopping, limits."""

import pytest

from backend.exceptions import EngineOffError
from backend.published.catalogue import OpenSAE
from backend.settings import Settings
from backend.web.problems import UNEXPECTED_DETAIL
from tests.support.fake_run import MODEL_NAME
from tests.support.steering import (
    SECONDS,
    Server,
    brake,
    events_of,
    form,
    ids,
    steering_server,
    tokens_of,
    waiting,
)


def test_who_loses_the_connection_goes_on_where_it_broke(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = server.steer(max_new_tokens=8)
    server.forget()
    with brake(monkeypatch, at=2) as held:
        with server.open(max_new_tokens=8) as answer:
            stream = events_of(answer)
            first = [next(stream) for _ in range(5)]
        assert held.reached.wait(SECONDS)
        run = first[0][2]["id"]
        answer = server.http.get(f"/api/v1/runs/{run}")
        assert answer.json().get("state") == "writing", answer.text
        held.let_go.set()
        with server.http.stream(
            "GET", f"/api/v1/runs/{run}/events", headers={"last-event-id": str(first[-1][0])}
        ) as answer:
            rest = list(events_of(answer))
    events = first + rest
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    assert [ids(events, row) for row in range(2)] == [ids(whole, row) for row in range(2)]
    info = server.http.get(f"/api/v1/runs/{run}").json()
    assert (info["state"], info["result"]) == ("finished", events[-1][2]["result"])
    again = server.http.get(f"/api/v1/runs/{run}/events?after={len(events) - 1}")
    assert [name for _, name, _ in events_of(again)] == ["done"]


def test_a_closed_tab_frees_the_worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model waits before it reads the prompt until the server has seen that nobody listens any more."""
    quick = settings.model_copy(update={"live_grace_seconds": 0.0})
    with steering_server(quick) as server, brake(monkeypatch, at=0) as held:
        with server.open(max_new_tokens=24) as answer:
            stream = events_of(answer)
            run = next(stream)[2]["id"]
            assert held.reached.wait(SECONDS)
            job = server.app.state.engine.worker._running[0]
            assert not job.cancelled
        assert job._cancelled.wait(SECONDS)
        held.let_go.set()
        assert server.http.post("/api/v1/activations", json={"text": "the"}).status_code == 200
        assert server.http.get(f"/api/v1/runs/{run}").json()["state"] == "cancelled"
        assert held.reads == 1


def test_deleting_a_run_stops_it_and_keeps_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with brake(monkeypatch) as held, server.open(max_new_tokens=24) as answer:
        stream = events_of(answer)
        run = next(stream)[2]
        assert held.reached.wait(SECONDS)
        stopped = server.http.delete(f"/api/v1/runs/{run['id']}")
        assert (stopped.status_code, stopped.json()["state"]) == (200, "cancelled")
        assert server.http.get("/healthz").status_code == 200  # by now the server's loop has told the model
        held.let_go.set()
        assert [name for _, name, _ in stream][-1] == "cancelled"
        assert server.http.post("/api/v1/activations", json={"text": "the"}).status_code == 200
        assert held.reads <= 2
    assert server.http.get(run["result"]).status_code == 404
    assert server.http.delete(f"/api/v1/runs/{run['id']}").json()["state"] == "cancelled"
    assert server.http.get("/api/v1/runs/none/events").status_code == 404


def test_a_waiting_run_can_be_deleted_and_never_runs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with brake(monkeypatch) as held, server.open("one", max_new_tokens=3) as running:
        assert held.reached.wait(SECONDS)
        with waiting(server, "two", seed=9) as (events, run):
            server.http.delete(f"/api/v1/runs/{run}")
            assert events.result()[-1][1] == "cancelled"
        held.let_go.set()
        running.read()
        reads = held.reads
    assert reads == 1 + 3


def test_who_comes_while_others_are_written_joins_them(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = server.steer(max_new_tokens=4, seed=5, temperature=1.0)
    server.forget()
    with brake(monkeypatch, at=2) as held, server.open("first", max_new_tokens=8) as running:
        assert held.reached.wait(SECONDS)
        with waiting(server, "second", max_new_tokens=4, seed=5, temperature=1.0) as (joined, _):
            held.let_go.set()
            assert [ids(joined.result(), row) for row in range(2)] == [ids(alone, row) for row in range(2)]
        events = list(events_of(running))
        assert events[-1][1] == "done"
        written = [[data for data in tokens_of(events, row) if data["probability"] is not None] for row in range(2)]
        assert [len(row) for row in written] == [8, 8]
        assert held.reads == 1 + 8 + 1, "the second needs one read of its own, for its prompt"
    models = server.app.state.engine.models
    assert not models._held
    assert server.app.state.engine.worker._running == []


def test_a_failure_in_mid_batch_ends_all_that_are_in_it_and_no_other(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with brake(monkeypatch, at=2) as held, server.open("first", max_new_tokens=9) as running:
        held.broken = True
        assert held.reached.wait(SECONDS)
        with waiting(server, "second", max_new_tokens=9) as (joined, _):
            held.let_go.set()
            assert joined.result()[-1][1] == "error"
        assert list(events_of(running))[-1][1] == "error"
    assert not server.app.state.engine.models._held
    assert server.steer(seed=8)[-1][1] == "done"


def test_one_runs_one_waits_and_a_third_is_told_to_wait(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with brake(monkeypatch) as held, server.open("me", max_new_tokens=2) as running:
        assert held.reached.wait(SECONDS)
        with waiting(server, "me", seed=1) as (mine, _):
            refused = server.http.post("/api/v1/steer", json=server.body(seed=2), headers={"cookie": "visitor=me"})
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) > 0
            assert "one waiting" in refused.json()["detail"]
            page = server.http.post("/steer", data=form(seed="2"), headers={"cookie": "visitor=me"})
            assert page.status_code == 429
            assert "one waiting" in page.text
            with waiting(server, "you", seed=3) as (yours, _), waiting(server, "her", seed=4) as (hers, _):
                crowded = server.http.post("/api/v1/steer", json=server.body(seed=5), headers={"cookie": "visitor=him"})
                assert crowded.status_code == 429
                assert "from your network" in crowded.json()["detail"]
                held.let_go.set()
                assert [other.result()[-1][1] for other in (mine, yours, hers)] == ["done"] * 3
        assert list(events_of(running))[-1][1] == "done"


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("live_queue_seconds", "waited for the model"),
        ("live_first_token_seconds", "first token"),
        ("live_run_seconds", "ran"),
    ],
)
def test_time_limits_end_a_request_with_a_message(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, limit: str, words: str
) -> None:
    at = {"live_queue_seconds": 0, "live_first_token_seconds": 0, "live_run_seconds": 2}[limit]
    strict, in_queue = settings.model_copy(update={limit: 0.2}), limit == "live_queue_seconds"
    with steering_server(settings if in_queue else strict) as server:
        server.http.post("/api/v1/activations", json={"text": "the"})  # loads the model
        with brake(monkeypatch, at=at) as held, server.open("one", max_new_tokens=3) as first:
            if in_queue:
                assert held.reached.wait(SECONDS)
                monkeypatch.setattr(server.app.state.engine, "_settings", strict)  # the first took as long as it took
                with waiting(server, "two", seed=1) as (events, _):
                    name, error = events.result()[-1][1:]
            else:
                name, error = list(events_of(first))[-1][1:]
            held.let_go.set()
    assert (name, error["status"]) == ("error", 503)
    assert words in error["detail"]
    assert "try again" in error["detail"]


@pytest.mark.parametrize(
    ("kind", "status", "detail"),
    [(EngineOffError, 503, "1-relu-256 does not fit"), (MemoryError, 500, UNEXPECTED_DETAIL)],
)
def test_what_cannot_be_loaded_for_one_request_ends_no_other(
    server: Server, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], status: int, detail: str
) -> None:
    models = server.app.state.engine.models
    load = models.sae

    def refuse(sae: OpenSAE) -> object:
        if sae.name == "1-relu-256":
            raise kind("1-relu-256 does not fit")
        return load(sae)

    monkeypatch.setattr(models, "sae", refuse)
    other = [{"feature": "tiny/1-relu-256/9", "strength": 2}]
    with brake(monkeypatch) as held, server.open("first", max_new_tokens=2) as running:
        assert held.reached.wait(SECONDS)
        with waiting(server, "one", features=other) as (refused, _), waiting(server, "two", seed=1) as (written, _):
            held.let_go.set()
            name, error = refused.result()[-1][1:]
            assert (name, error["status"], error["detail"]) == ("error", status, detail)
            assert written.result()[-1][1] == "done"
        assert list(events_of(running))[-1][1] == "done"


def test_a_full_queue_answers_503_and_when_to_try_again(server: Server) -> None:
    worker = server.app.state.engine.worker
    capacity, worker._capacity = worker._capacity, 0
    try:
        answer = server.http.post("/api/v1/steer", json=server.body())
    finally:
        worker._capacity = capacity
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert server.steer()[-1][1] == "done"


def test_the_state_of_the_engine_is_told(server: Server) -> None:
    server.steer()
    found = server.http.get("/api/v1/status").json()
    assert found["model"] == MODEL_NAME
    assert (
        found["sae_bytes"]
        == sum(found["saes"].values())
        == found["saes"]["1-relu-64"] + sum(size for name, size in found["saes"].items() if name != "1-relu-64")
    )
    assert found["saes"]["1-relu-64"] == 8 * 64 * 32
    assert found["sae_limit"] == 4_000_000_000
    folded = server.http.get("/steer").text.partition('<details class="small faint engine-status">')[2]
    assert "4.0 GB" in folded.partition("</details>")[0]
