"""Runs and results of steering over HTTP: leaving, coming back, stopping, limits, and what stays."""

import re
from collections.abc import Iterator
from dataclasses import fields
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import text as sql

from backend.exceptions import EngineOffError
from backend.published.catalogue import OpenSAE
from backend.settings import Settings
from backend.steering.page import ResultPage, SteerPage
from backend.web.clients import COOKIE
from backend.web.problems import OURS
from data.layout import StorePaths
from data.sql.database import connect
from tests.backend.test_pages import source
from tests.support.fake_run import DEAD
from tests.support.steering import (
    FEATURE,
    SECONDS,
    Server,
    brake,
    copied_database,
    events_of,
    ids,
    steering_server,
    tokens_of,
    waiting,
)

HOSTILE = "the <script>alert(1)</script> river\u202e of\x00 </q>"


@pytest.fixture(scope="module")
def settings(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    url = copied_database(published_store, tmp_path_factory.mktemp("runs"))
    return Settings(
        store=published_store.root, database_url=url, live_grace_seconds=SECONDS, live_per_address=4, max_new_tokens=24
    )


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Server]:
    with steering_server(settings) as server:
        yield server


@pytest.fixture(autouse=True)
def _forget(server: Server) -> None:
    server.forget()


def form(**changes: Any) -> dict[str, Any]:
    return {
        "f": [f"{FEATURE}:4", ""],
        "s": ["3"],
        "prompt": "the river",
        "new_tokens": "5",
        "temperature": "0",
        **changes,
    }


@pytest.mark.parametrize(
    ("template", "context"), [("steering/steer.html", SteerPage), ("steering/result.html", ResultPage)]
)
def test_a_page_uses_every_field_that_its_context_declares(template: str, context: type) -> None:
    code = " ".join(re.findall(r"{[{%].*?[%}]}", source(template), re.DOTALL))
    for field in fields(context):
        assert re.search(rf"\b{field.name}\b", code), f"{template} does not use {field.name}"


# ---- leaving, coming back, stopping


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


# ---- limits


def test_one_runs_one_waits_and_a_third_is_told_to_wait(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with brake(monkeypatch) as held, server.open("me", max_new_tokens=2) as running:
        assert held.reached.wait(SECONDS)
        with waiting(server, "me", seed=1) as (mine, _):
            refused = server.http.post("/api/v1/steer", json=server.body(seed=2), headers={"cookie": "visitor=me"})
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) > 0
            assert "one waits already" in refused.json()["detail"]
            page = server.http.post("/steer", data=form(seed="2"), headers={"cookie": "visitor=me"})
            assert page.status_code == 429
            assert "one waits already" in page.text
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
    strict = settings.model_copy(update={limit: 0.2})
    with steering_server(strict) as server:
        server.http.post("/api/v1/activations", json={"text": "the"})  # loads the model
        with brake(monkeypatch, at=at) as held, server.open("one", max_new_tokens=3) as first:
            if limit == "live_queue_seconds":
                assert held.reached.wait(SECONDS)
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
    [(EngineOffError, 503, "1-relu-256 does not fit"), (MemoryError, 500, OURS)],
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
    assert found["model"] == "tiny"
    assert (
        found["sae_bytes"]
        == sum(found["saes"].values())
        == found["saes"]["1-relu-64"] + sum(size for name, size in found["saes"].items() if name != "1-relu-64")
    )
    assert found["saes"]["1-relu-64"] == 8 * 64 * 32
    assert found["sae_limit"] == 4_000_000_000
    assert "4.0 GB" in server.http.get("/steer").text


def test_visitors_get_a_cookie_once(server: Server) -> None:
    first = httpx.get(f"{server.address}/steer")
    assert first.cookies[COOKIE]
    again = httpx.get(f"{server.address}/steer", cookies=dict(first.cookies))
    assert COOKIE not in again.cookies


# ---- what stays


def test_the_form_leads_to_a_result_that_says_everything(server: Server) -> None:
    answer = server.http.post("/steer", data=form(prompt=HOSTILE, mode="add", scope="written", seed="3", chat=""))
    assert answer.status_code == 303
    address = answer.headers["location"]
    events = server.steer(
        features=[{"feature": FEATURE, "strength": 3}], max_new_tokens=5, prompt=HOSTILE, mode="add", scope="written",
        seed=3, top_p=0.9,
    )  # fmt: skip
    assert events[-1][2] == {**events[-1][2], "result": address, "stored": True}
    kept = server.http.get(f"{address}.json").json()
    for row in range(2):
        assert [token["token"] for token in kept["rows"][row]["tokens"]] == ids(events, row)
        assert [token["probability"] for token in kept["rows"][row]["tokens"]] == [
            data["probability"] for data in tokens_of(events, row)
        ]
    assert kept["prompt"] == HOSTILE
    assert (kept["mode"], kept["scope"], kept["seed"], kept["model"], kept["run"]) == (
        "add",
        "written",
        3,
        "tiny",
        "fake",
    )
    feature = kept["features"][0]
    assert feature["name"] == FEATURE
    assert feature["value"] == pytest.approx(3 * feature["max"])
    page = server.http.get(address).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e of" not in page.partition("<h2>")[2].partition("</section>")[0], "a mark turns the text around"
    assert f"/{FEATURE}" in page
    given = [data for row in range(2) for data in tokens_of(events, row) if data["probability"] is None]
    assert page.count('class="given"') == len(given) - 2, "all but the opening tokens"
    again = unescape(page.partition('href="/steer?')[2].partition('"')[0])
    form_again = server.http.get("/steer?" + again).text
    assert f'value="{FEATURE}:3"' in form_again
    assert "&lt;script&gt;alert(1)" in form_again
    assert '<option value="add" selected>' in form_again


def test_the_form_keeps_what_was_typed_and_says_what_is_wrong(server: Server) -> None:
    page = server.http.post("/steer", data=form(s=["12"], prompt="</textarea><b>river"))
    assert page.status_code == 422
    assert "-10 to 10" in page.text
    assert "&lt;/textarea&gt;&lt;b&gt;river" in page.text
    for strength in ("1e999", "nan", "much"):
        page = server.http.post("/steer", data=form(s=[strength]))
        assert page.status_code == 422
        assert f"&#39;{strength}&#39; is no strength" in page.text
        assert f'value="{FEATURE}:4"' in page.text
    page = server.http.get("/steer", params={"f": ["http://somewhere:8000/tiny/1-relu-64/3", "tiny/none/1"]})
    assert page.text.count('class="held-one"') == 1
    assert f'value="{FEATURE}:2"' in page.text
    assert "names no feature" in page.text


def test_an_empty_prompt_stays_empty_and_is_refused(server: Server) -> None:
    page = server.http.post("/steer", data=form(prompt=""))
    assert page.status_code == 422
    assert "The prompt is empty" in page.text
    for address, prompt in {"/steer": "I am a", "/steer?prompt=": "", page.url: ""}.items():
        text = page.text if address == page.url else server.http.get(address).text
        assert f'spellcheck="false">\n{prompt}</textarea>' in text


def test_removing_a_feature_and_adding_one_keep_what_was_typed(server: Server) -> None:
    typed = form(f=[f"{FEATURE}:4", "tiny/1-relu-64/9:1", "", "tiny/1-relu-64/11:2"], s=["3", "-1.5"], chat="1")
    page = server.http.get("/steer", params={**typed, "without": FEATURE}).text
    assert [f'value="tiny/1-relu-64/{one}"' in page for one in ("3:3", "9:-1.5", "11:2")] == [False, True, True]
    assert "the river</textarea>" in page
    assert 'name="chat" value="1" checked' in page
    assert '<button class="chip" name="f" value="tiny/' in page


def test_a_dead_feature_says_at_once_that_it_cannot_be_steered(server: Server) -> None:
    page = server.http.get(f"/steer?f=tiny/1-relu-64/{DEAD}&f={FEATURE}").text
    assert "never active on the corpus, so it has no strength" in page
    assert 'id="go" disabled>' in page
    assert 'id="go" >' in server.http.get(f"/steer?f={FEATURE}").text


def test_an_identical_request_comes_from_the_store_without_the_model(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = server.steer(sweep=True, max_new_tokens=3)
    with brake(monkeypatch, at=0) as held:
        again = server.steer(sweep=True, max_new_tokens=3)
        assert held.reads == 0
    assert again[-1][2]["stored"]
    for row in range(8):
        assert tokens_of(again, row) == tokens_of(first, row)
    events = server.http.get(again[0][2]["events"] + f"?after={len(again) - 2}")
    assert list(events_of(events)) == again[-2:], "who loses the connection goes on, without anything remembered"
    assert again[0][2]["id"] not in server.app.state.runs._runs


def test_results_survive_a_restart_another_publication_and_a_machine_without_the_model(
    server: Server, settings: Settings
) -> None:
    done = server.steer()[-1][2]
    page = server.http.get(done["result"]).text
    assert "no longer published" not in page
    with steering_server(settings.model_copy(update={"live": False})) as other:
        assert other.http.get(done["result"]).text == page
        assert other.steer()[-1][2]["stored"]
        assert other.http.post("/api/v1/steer", json=other.body(seed=99)).status_code == 503
        off = other.http.get("/steer").text
        assert "without its live part" in off
        assert "requests wait" not in off
        assert "It wrote “river” twice, the baseline never." in off
        assert '<a href="/steer?' not in off.partition("Examples that respond")[2]
        database = connect(settings.sql_url)
        with database.begin() as connection:
            key = connection.execute(sql("select key from runs")).scalar_one()
            connection.execute(sql("update runs set key = 'another'"))
        try:
            assert "no longer published" in other.http.get(done["result"]).text
        finally:
            with database.begin() as connection:
                connection.execute(sql("update runs set key = :key"), {"key": key})
            database.dispose()


def test_when_all_places_are_taken_texts_are_written_but_not_kept(server: Server, settings: Settings) -> None:
    kept = server.steer()[-1][2]["result"]
    with steering_server(settings.model_copy(update={"max_results": 1})) as full:
        assert full.steer()[-1][2]["stored"], "what is kept stays"
        assert full.http.get(kept).status_code == 200
        events = full.steer(seed=99)
        assert (events[-1][1], events[-1][2]["result"]) == ("done", None)
        assert "MONOSEMA_MAX_RESULTS" in events[-1][2]["note"]
        run = full.http.get(f"/api/v1/runs/{events[0][2]['id']}").json()
        assert (run["state"], run["result"]) == ("finished", None)
        page = full.http.post("/steer", data=form(seed="99"))
        assert page.status_code == 503
        assert "MONOSEMA_MAX_RESULTS" in page.text


@pytest.mark.parametrize("address", ["/r/none", "/r/" + "0" * 20, "/r/" + "0" * 20 + ".json"])
def test_an_address_without_a_result_is_not_found(server: Server, address: str) -> None:
    assert server.http.get(address).status_code == 404


def test_the_page_offers_what_was_measured_literally(server: Server) -> None:
    page = server.http.get("/steer").text
    assert "4 texts were written with a feature held; 3 responded" in page
    assert "It wrote “river” twice, the baseline never." in page
    assert "&lt;b&gt;music&lt;/b&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>music" not in page
    assert "\u202e" not in page.partition("Examples that respond")[2]
    href = "/steer?f=tiny%2F1-relu-64%2F7%3A1.5&amp;prompt=I+am+a&amp;temperature=0.0&amp;new_tokens=24"
    assert f'href="{href}"' in page
    assert "1-relu-64 / 7" in page.partition("Examples that respond")[2]
    assert "are shown" not in page
    assert 'name="temperature" min="0" max="2" step="0.1" value="0"' in server.http.get(unescape(href)).text
