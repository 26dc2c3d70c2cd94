"""Forms that are refused keep what was typed: on their own page, or on the error's page to be corrected there."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete
from sqlalchemy.orm import Session

from backend.settings import Settings
from backend.web.problems import RefusedForm
from data.layout import StorePaths
from data.sql.database import connect
from data.sql.records import ListEntryRecord, ListRecord
from tests.support.pages import Page, app_with_contexts
from tests.support.steering import copied_database

FEATURE = "tiny/1-relu-64/3"
LONG = "long " * 50


@pytest.fixture(scope="module")
def own(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server with a database of its own, which keeps three lists."""
    url = copied_database(published_store, tmp_path_factory.mktemp("forms"))
    with Session(connect(url)) as session, session.begin():
        session.execute(delete(ListEntryRecord))
        session.execute(delete(ListRecord))
    settings = Settings(store=published_store.root, database_url=url, live=False, max_lists=3)
    with TestClient(app_with_contexts(settings)) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "typed", "wrong"),
    [
        ("/tiny/1-relu-64", {"q": "war", "min_density": "some"}, ["min_density"]),
        ("/tiny/1-relu-64", {"q": LONG, "max_density": "2", "sort": "max"}, ["max_density", "q"]),
        ("/search", {"q": LONG, "in": "label", "alive": "all"}, ["q"]),
        ("/search", {"q": "river", "max_density": "half"}, ["max_density"]),
        ("/explore", {"q": LONG}, ["q"]),
        ("/compare", {"f": FEATURE, "t": "near"}, ["t"]),
        ("/prompt", {"text": "the river\nof <b>", "target": LONG, "k": "50"}, ["target"]),
        ("/prompt", {"text": "the river", "target": "a", "position": "last"}, ["position"]),
    ],
)
def test_a_search_that_does_not_fit_can_be_corrected(
    own: TestClient, path: str, typed: dict[str, str], wrong: list[str]
) -> None:
    answer = own.get(path, params=typed)
    assert answer.status_code == 422
    _check(answer, RefusedForm(path, "get", [], []), typed, wrong)


@pytest.mark.parametrize(
    ("path", "typed", "wrong"),
    [
        ("/prompt", {"text": "the\nriver", "hide": "much", "rank": "max"}, ["hide"]),
        ("/search", {"pos": "the river", "neg": "a war", "at_least": "3"}, ["at_least"]),
        ("/search/topic", {"pos": "the river", "topic": LONG, "k": "5"}, ["topic"]),
        ("/lists/x/edit?key=secret", {"do": "", "note": "a\nb"}, ["do"]),
    ],
)
def test_a_form_that_does_not_fit_can_be_corrected(
    own: TestClient, path: str, typed: dict[str, str], wrong: list[str]
) -> None:
    answer = own.post(path, data=typed)
    assert answer.status_code == 422
    _check(answer, RefusedForm(path, "post", [], []), typed, wrong)


def _check(answer: object, expected: RefusedForm, typed: dict[str, str], wrong: list[str]) -> None:
    form = answer.context["form"]
    assert (form.action, form.method) == (expected.action, expected.method)
    assert sorted(name for name, _ in form.wrong) == sorted(wrong)
    assert dict([*form.wrong, *form.kept]) == typed
    fields = [a for tag, a in Page(answer.text).elements if tag in ("input", "textarea") and a.get("name") in typed]
    assert {a["name"] for a in fields} >= set(typed)
    assert all(a.get("type") != "hidden" for a in fields if a["name"] in wrong)


def test_a_request_of_no_form_has_none_to_correct(own: TestClient) -> None:
    assert own.get("/none").context["form"] is None
    assert own.get("/api/v1/features/tiny/1-relu-64?page=0").json()["status"] == 422


def test_a_refused_edit_of_a_list_keeps_every_field(own: TestClient) -> None:
    made = own.post("/api/v1/lists", json={"name": "mine", "entries": [{"feature": FEATURE, "note": "old"}]}).json()
    note = "x" * 2_001
    answer = own.post(made["edit"], data={"do": "save", "feature": FEATURE, "note": note})
    assert (answer.status_code, answer.context["entries"][0].entry.note) == (422, note)
    answer = own.post(made["edit"], data={"do": "describe", "name": "n" * 201, "list_note": "why"})
    assert (answer.status_code, answer.context["name"], answer.context["note"]) == (422, "n" * 201, "why")
    answer = own.post(made["edit"], data={"do": "add", "features": f"{FEATURE}\nnone/at/all"})
    assert (answer.status_code, answer.context["features"]) == (422, f"{FEATURE}\nnone/at/all")
    assert own.get(f"/api/v1/lists/{made['id']}").json()["entries"][0]["note"] == "old"
    own.delete(f"/api/v1/lists/{made['id']}", headers={"authorization": f"Bearer {made['secret']}"})


def test_a_new_list_that_finds_no_room_keeps_every_field(own: TestClient) -> None:
    made = [own.post("/api/v1/lists", json={}).json() for _ in range(3)]
    form = {"name": "mine", "note": "why\nnot", "features": FEATURE}
    answer = own.post("/lists", data=form)
    assert answer.status_code == 503
    assert {name: answer.context[name] for name in form} == form
    assert "MONOSEMA_MAX_LISTS" in answer.text
    file = {"file": ("a.csv", b"model,sae,index\ntiny,1-relu-64,3\n")}
    answer = own.post("/lists/import", files=file)
    assert (answer.status_code, answer.template.name) == (503, "lists/lists.html")
    for one in made:
        own.delete(f"/api/v1/lists/{one['id']}", headers={"authorization": f"Bearer {one['secret']}"})


def test_a_text_of_any_length_that_is_refused_stays_in_its_field(own: TestClient) -> None:
    text = "a" * 250_000
    answer = own.post("/prompt", data={"text": text, "rank": "mean", "mixed": "1"})
    assert answer.status_code == 422
    state = answer.context["state"]
    assert (state.text, state.rank, state.mixed) == (text, "mean", True)
