"""Results of steering: what is kept of a run, under which address, for how long."""

from html import unescape

import pytest
from sqlalchemy import text as sql

from backend.settings import Settings
from data.layout import StorePaths
from data.sql.database import connect
from tests.support.databases import KINDS, Start, copy_catalogue, new_database
from tests.support.steering import (
    FEATURE,
    Server,
    brake,
    events_of,
    form,
    ids,
    steering_server,
    tokens_of,
)


@pytest.fixture(scope="module", params=KINDS)
def settings(
    request: pytest.FixtureRequest,
    settings: Settings,
    published_store: StorePaths,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: Start,
) -> Settings:
    """Those of every test of steering, with a database of each kind."""
    url = new_database(request.param, tmp_path_factory.mktemp("results"), postgres)
    return settings.model_copy(update={"database_url": copy_catalogue(published_store, url)})


HOSTILE = "the <script>alert(1)</script> river\u202e of\x00 </q>"


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


def test_an_identical_request_comes_from_the_store_without_the_model(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = server.steer(sweep=True, max_new_tokens=3)
    with brake(monkeypatch, at=0) as held:
        again = server.steer(sweep=True, max_new_tokens=3)
        assert held.reads == 0
    assert again[-1][2]["stored"]
    for row in range(6):
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
        assert "is turned off on this server" in off
        assert "requests wait" not in off
        assert "I am the river and the sea." in off, "what is stored is shown"
        assert 'id="go" disabled' in off
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
