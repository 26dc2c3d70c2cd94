"""What works at the same time: SAEs never take more than the limit together, and nobody waits for a long job's end."""

import asyncio
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.engine import attributor as engine_attribution
from backend.engine import steer_jobs as engine_steer
from backend.engine import worker
from backend.engine.steer_jobs import SteerJob, Writer
from backend.engine.worker import Worker
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.steering import SECONDS, Brake, Server, brake, copied_database, events_of, steering_server, waiting
from tests.support.stores import linked_store

ONE = 8 * 64 * 32
"""Bytes of an SAE of 64 features."""
ROOM_FOR_ONE = 1.5 * ONE / 1e9
OTHER = [{"feature": "tiny/1-batchtopk-64/11", "strength": 2}]


@pytest.fixture
def settings(published_store: StorePaths, tmp_path: Path) -> Settings:
    url = copied_database(published_store, tmp_path)
    return Settings(store=published_store.root, database_url=url, live_sae_gb=ROOM_FOR_ONE, live_grace_seconds=SECONDS)


@contextmanager
def writing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> Iterator[tuple[Server, Brake, httpx.Response]]:
    """A server that writes a text, held after the prompt."""
    with (
        steering_server(settings) as server,
        brake(monkeypatch) as held,
        server.open("one", max_new_tokens=tokens) as running,
    ):
        assert held.reached.wait(SECONDS)
        yield server, held, running


def test_requests_whose_saes_find_no_room_together_are_written_one_after_the_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(settings, monkeypatch, 2) as (server, held, running):
        with waiting(server, "two", features=OTHER, max_new_tokens=2) as (other, _):
            with waiting(server, "three", seed=1, max_new_tokens=2) as (same, _):
                held.let_go.set()
                assert same.result()[-1][1] == "done"
            assert other.result()[-1][1] == "done"
        assert list(events_of(running))[-1][1] == "done"
        batches = held.reads
        assert list(server.app.state.engine.models.sae_sizes()) in (["1-relu-64"], ["1-batchtopk-64"])
    alone = 1 + 2  # the prompt, then two tokens
    assert batches == 3 * alone, "the two that waited were not written in one batch"


def test_a_reading_that_finds_no_room_beside_a_text_waits_for_its_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(settings, monkeypatch, 4) as (server, held, running):
        models, seen, answers = server.app.state.engine.models, [], list[httpx.Response]()
        load = models.sae

        def noting(sae: object) -> object:
            found = load(sae)
            seen.append((list(models.sae_sizes()), held.reads))
            return found

        monkeypatch.setattr(models, "sae", noting)

        def ask() -> None:
            body = {"text": "the river", "saes": ["tiny/1-batchtopk-64"]}
            answers.append(httpx.post(f"{server.address}/api/v1/activations", json=body, timeout=SECONDS))

        asking, worker = Thread(target=ask, daemon=True), server.app.state.engine.worker
        asking.start()
        with worker._changed:
            assert worker._changed.wait_for(lambda: worker._waiting, SECONDS)
        held.let_go.set()
        assert list(events_of(running))[-1][1] == "done"
        asking.join(SECONDS)
    assert answers[0].status_code == 200
    assert seen == [(["1-batchtopk-64"], 1 + 4)], "read once nothing was written any more, with room made for it"


def test_one_request_for_more_than_finds_room_is_refused_before_it_starts(settings: Settings) -> None:
    with steering_server(settings) as server:
        both = [*server.body()["features"], *OTHER]
        answer = server.http.post("/api/v1/steer", json=server.body(features=both))
    assert answer.status_code == 422
    assert "together" in answer.json()["detail"]
    assert "MONOSEMA_LIVE_SAE_GB" in answer.json()["detail"]


def test_an_attribution_over_more_saes_than_find_room_is_refused(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        body = {"text": "the river", "target": "#70", "saes": ["tiny/1-relu-64", "tiny/1-batchtopk-64"]}
        answer = client.post("/api/v1/attribution", json=body)
    assert answer.status_code == 422
    assert "together" in answer.json()["detail"]


def test_nobody_joins_past_the_request_of_another_run() -> None:
    """It needs the same model, but no batch of this run: it would wait for as long as others join."""
    worker, loop = Worker(9), asyncio.new_event_loop()
    writer = Writer(SimpleNamespace(needs=lambda run, saes: None), worker, 16)  # type: ignore[arg-type]

    def waiting_job(run: str, rows: int = 2) -> SteerJob:
        request = SimpleNamespace(run=SimpleNamespace(folder=Path(run)), rows=[[]] * rows, client="", saes=[])
        return SteerJob(writer, request, loop, asyncio.Queue())  # type: ignore[arg-type]

    other, mine = waiting_job("other"), waiting_job("mine")
    worker._waiting = deque([other, mine])
    assert writer._companions(Path("mine"), [], 2, in_turn=True) == []
    assert writer._companions(Path("mine"), [], 2) == [mine], "one that waits when a batch begins does come with it"
    large, small = waiting_job("mine", 8), waiting_job("mine")
    worker._waiting = deque([large, small])
    assert writer._companions(Path("mine"), [], 10, in_turn=True) == []
    assert writer._companions(Path("mine"), [], 8, in_turn=True) == [large]
    loop.close()


def test_those_who_join_take_half_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(engine_steer.time, "monotonic", lambda: now[0])
    share = engine_steer._FairShare()
    assert not share.is_used_up
    share.begin()
    now[0] += 3
    share.end()
    assert share.is_used_up
    now[0] += 2.9
    share.end()  # nothing was spent
    assert share.is_used_up
    now[0] += 0.1
    assert not share.is_used_up


def test_a_prompt_is_read_by_more_saes_than_find_room_one_after_the_other(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        names = ["tiny/1-relu-64", "tiny/1-batchtopk-64"]
        both = client.post("/api/v1/activations", json={"text": "the river", "saes": names}).json()["saes"]
        each = [client.post("/api/v1/activations", json={"text": "the river", "saes": [name]}).json() for name in names]
        assert both == [one["saes"][0] for one in each]
        assert len(client.app.state.engine.models.sae_sizes()) == 1


def test_a_model_that_cannot_be_loaded_is_not_tried_again_by_every_page(
    published_store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    (store / "models" / "tiny").mkdir(parents=True)
    (store / "models" / "tiny" / "config.json").write_text("{")
    linked_store(published_store, store, but={published_store.models})
    with TestClient(create_app(Settings(store=store))) as client:
        models, tried = client.app.state.engine.models, []
        load = models.load
        monkeypatch.setattr(models, "load", lambda run: (tried.append(run), load(run)))
        assert client.post("/api/v1/activations", json={"text": "the"}).status_code == 503
        for _ in range(3):
            assert client.get("/steer").status_code == 200
        assert client.post("/api/v1/activations", json={"text": "the"}).status_code == 503
    assert len(tried) == 2, "only who asks for an answer tries again"


def test_a_text_is_written_while_an_attribution_works(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    began, written = Event(), Event()
    attributed = engine_attribution._attributed

    def endless(*arguments: Any) -> Iterator[Any]:
        began.set()
        while not written.is_set():
            yield None
        yield from attributed(*arguments)

    monkeypatch.setattr(engine_attribution, "_attributed", endless)
    monkeypatch.setattr(worker, "TURN_SECONDS", 0.0)
    with steering_server(settings) as server, ThreadPoolExecutor(1) as other:
        body = {"text": "the river", "target": "#70", "saes": ["tiny/1-relu-64"], "k": 5}
        asked = other.submit(httpx.post, f"{server.address}/api/v1/attribution", json=body, timeout=2 * SECONDS)
        assert began.wait(SECONDS)
        try:
            assert server.steer()[-1][1] == "done"
        finally:
            written.set()
        assert asked.result(SECONDS).status_code == 200
