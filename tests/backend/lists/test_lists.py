"""Lists of features: the API, the pages, and what becomes of them when a run is published anew."""

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from backend.app import create_app
from backend.exceptions import RefusedError
from backend.lists.entries import MAX_ENTRIES, MAX_NOTE, MAX_NOTES_TOTAL, ListEntry, make_draft
from backend.lists.files import FORMATS
from backend.lists.store import ListStore
from backend.settings import Settings
from data.layout import StorePaths
from data.sql.database import DATABASE_VARIABLE
from data.sql.records import ListEntryRecord, ListRecord
from tests.support.databases import copy_catalogue
from tests.support.fake_run import DEAD, MARKED, publish_run
from tests.support.lists import API, GONE, HOSTILE_NOTES
from tests.support.pages import Page

FEATURES = ["tiny/1-relu-64/3", "tiny/1-relu-256/9", f"tiny/1-relu-64/{MARKED}", f"tiny/1-relu-64/{DEAD}"]


@pytest.fixture
def made(client: TestClient) -> dict[str, str]:
    """A list of FEATURES and of one that is gone."""
    entries = [{"feature": name, "note": f"note {i}"} for i, name in enumerate([*FEATURES, GONE])]
    answer = client.post(API, json={"name": "Rivers & <b>", "note": "one\ntwo", "entries": entries})
    assert answer.status_code == 201
    return answer.json()


def bearer(made: dict[str, str]) -> dict[str, str]:
    return {"authorization": f"Bearer {made['secret']}"}


def names(client: TestClient, made: dict[str, str]) -> list[str]:
    return [entry["feature"] for entry in client.get(f"{API}/{made['id']}").json()["entries"]]


def test_a_list_is_read_without_a_secret_and_says_what_is_gone(client, made):
    answer = client.get(f"{API}/{made['id']}").json()
    assert (answer["name"], answer["note"]) == ("Rivers & <b>", "one\ntwo")
    assert [entry["published"] for entry in answer["entries"]] == [True, True, True, True, False]
    assert answer["entries"][0]["density"] > 0
    assert answer["entries"][4] == {
        "feature": GONE, "note": "note 4", "published": False, "label": None, "density": None, "max": None
    }  # fmt: skip
    assert made["secret"] not in json.dumps(answer)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_editing_needs_the_secret(client, made, method):
    address, body = f"{API}/{made['id']}", None if method == "DELETE" else {"name": "mine now"}
    without = client.request(method, address, json=body)
    assert (without.status_code, without.headers["www-authenticate"]) == (401, "Bearer")
    assert without.headers["content-type"] == "application/problem+json"
    wrong = client.request(method, address, json=body, headers={"authorization": f"Bearer {made['secret'][:-1]}"})
    assert (wrong.status_code, wrong.json()["status"]) == (403, 403)
    assert client.get(address).json()["name"] == "Rivers & <b>"


def test_only_a_hash_of_the_secret_is_kept(client, made):
    with Session(client.app.state.library._engine) as session:
        record = session.get(ListRecord, made["id"])
        kept = json.dumps([str(value) for value in vars(record).values()])
    assert made["secret"] not in kept
    assert re.fullmatch("[0-9a-f]{64}", record.secret_hash)


def test_a_program_edits_all_of_a_list(client, made):
    address, secret = f"{API}/{made['id']}", bearer(made)
    assert client.patch(address, json={"name": " a \n name "}, headers=secret).json()["name"] == "a name"
    added = client.post(f"{address}/entries", json={"feature": "/tiny/1-relu-64/9", "place": 1}, headers=secret)
    assert (added.status_code, added.json()["feature"]) == (201, "tiny/1-relu-64/9")
    assert names(client, made) == [FEATURES[0], "tiny/1-relu-64/9", *FEATURES[1:], GONE]
    again = client.post(f"{address}/entries", json={"feature": "tiny/1-relu-64/9"}, headers=secret)
    assert again.status_code == 201
    assert len(names(client, made)) == 6
    moved = client.patch(f"{address}/entries/{GONE}", json={"place": 0, "note": "back?"}, headers=secret)
    assert moved.status_code == 204
    first = client.get(address).json()["entries"][0]
    assert (first["feature"], first["note"]) == (GONE, "back?")
    assert client.delete(f"{address}/entries/{GONE}", headers=secret).status_code == 204
    assert client.delete(f"{address}/entries/{GONE}", headers=secret).status_code == 404
    put = client.put(address, json={"entries": [{"feature": FEATURES[1]}]}, headers=secret).json()
    assert ([entry["feature"] for entry in put["entries"]], put["note"]) == ([FEATURES[1]], "")
    assert client.delete(address, headers=secret).status_code == 204
    assert client.get(address).status_code == 404


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"entries": [{"feature": "nonsense"}]}, "is not the name of a feature"),
        ({"entries": [{"feature": FEATURES[0], "note": "a\0b"}]}, "not text"),
        ({"entries": [{"feature": FEATURES[0], "note": "x" * (MAX_NOTE + 1)}]}, "2,000 characters"),
        ({"name": "x" * 201}, "200 characters"),
        ({"entries": [{"feature": f"t/s/{i}"} for i in range(MAX_ENTRIES + 1)]}, "10000 items"),
        ({"entries": [{"feature": f"t/s/{i}", "note": "x" * MAX_NOTE} for i in range(501)]}, "1,000,000 characters"),
    ],
)
def test_what_is_too_much_or_no_text_is_refused(client, body, says):
    answer = client.post(API, json=body)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_a_feature_that_is_not_here_cannot_be_added(client, made):
    answer = client.post(f"{API}/{made['id']}/entries", json={"feature": GONE}, headers=bearer(made))
    assert (answer.status_code, GONE in answer.json()["detail"]) == (422, True)


def test_a_list_never_grows_beyond_its_limits(client, made):
    store: ListStore = client.app.state.lists
    full = make_draft("", "", [ListEntry("t", "s", i) for i in range(MAX_ENTRIES)])
    list_id, secret = store.create(full)
    with pytest.raises(RefusedError, match="10,000"), store.edit(list_id, secret) as edit:
        edit.add([ListEntry("t", "s", MAX_ENTRIES)])
    assert len(store.entries(list_id)) == MAX_ENTRIES
    with store.edit(list_id, secret) as edit:
        assert edit.move(f"t/s/{MAX_ENTRIES - 1}", 0) == 0
    order = [entry.index for entry in store.entries(list_id)]
    assert order == [MAX_ENTRIES - 1, *range(MAX_ENTRIES - 1)]
    notes = make_draft("", "", [ListEntry("t", "s", i, "x" * MAX_NOTE) for i in range(MAX_NOTES_TOTAL // MAX_NOTE)])
    list_id, secret = store.create(notes)
    with pytest.raises(RefusedError, match="1,000,000"), store.edit(list_id, secret) as edit:
        edit.add([ListEntry("t", "s", 9999, "x")])


# ---- pages


def test_a_list_is_made_by_its_form_and_edited_behind_a_secret_link(client):
    form = {"name": "A", "f": [FEATURES[0]], "features": f"{FEATURES[1]}\r\nhttp://here/{FEATURES[2]}?kind=top#x"}
    answer = client.post("/lists", data=form, follow_redirects=False)
    address = answer.headers["location"]
    assert answer.status_code == 303
    found = re.fullmatch(r"/lists/([a-z2-9]{16})/edit\?key=([\w-]{32})&done=made", address)
    assert found
    page = client.get(address)
    assert page.headers["referrer-policy"] == "strict-origin"
    assert page.headers["cache-control"] == "no-store"
    assert [e["feature"] for e in client.get(f"{API}/{found[1]}").json()["entries"]] == FEATURES[:3]
    read = client.get(f"/lists/{found[1]}")
    assert found[2] not in read.text
    assert read.headers["x-robots-tag"] == "noindex"
    assert client.get(f"/lists/{found[1]}/edit?key={found[2][:-1]}").status_code == 403
    assert client.get(f"/lists/{found[1]}/edit").status_code == 403
    assert client.get("/lists/none").status_code == 404


def test_a_wrong_feature_in_the_form_is_named_and_nothing_is_lost(pages):
    answer = pages.post("/lists", data={"name": "Mine", "note": "kept", "features": f"{FEATURES[0]} {GONE}"})
    assert answer.status_code == 422
    assert GONE in answer.context["problem"]
    assert (answer.context["name"], answer.context["note"]) == ("Mine", "kept")
    assert answer.context["features"].split() == [FEATURES[0], GONE]


def edit(client: TestClient, made: dict[str, str], **form: str) -> str:
    answer = client.post(made["edit"], data=form, follow_redirects=False)
    assert answer.status_code == 303
    return answer.headers["location"]


def test_forms_edit_all_of_a_list(client, made):
    assert edit(client, made, do="down", feature=FEATURES[0]).endswith("done=down#e2")
    assert names(client, made)[:2] == [FEATURES[1], FEATURES[0]]
    edit(client, made, do="up", feature=FEATURES[0])
    assert edit(client, made, do="up", feature=FEATURES[0]).endswith("#e1")
    assert names(client, made) == [*FEATURES, GONE]
    edit(client, made, do="save", feature=GONE, note="a\r\nb")
    edit(client, made, do="describe", name="New", list_note="why")
    answer = client.get(f"{API}/{made['id']}").json()
    assert (answer["name"], answer["note"], answer["entries"][4]["note"]) == ("New", "why", "a\nb")
    edit(client, made, do="remove", feature=FEATURES[1])
    assert edit(client, made, do="add", features="tiny/1-relu-64/11").endswith("done=add#e5")
    assert edit(client, made, do="add", features="tiny/1-relu-64/11").endswith("done=there")
    assert names(client, made) == [FEATURES[0], *FEATURES[2:], GONE, "tiny/1-relu-64/11"]
    unsure = client.post(made["edit"], data={"do": "delete"})
    assert (unsure.status_code, "tick the box" in unsure.text) == (422, True)
    assert edit(client, made, do="delete", sure="1") == "/lists"
    assert client.get(made["href"]).status_code == 404


def test_edits_by_form_need_the_secret(client, made):
    answer = client.post(f"{made['href']}/edit?key=wrong", data={"do": "remove", "feature": FEATURES[0]})
    assert answer.status_code == 403
    assert client.post(f"{made['href']}/edit", data={"do": "delete", "sure": "1"}).status_code == 403
    assert names(client, made) == [*FEATURES, GONE]


def test_a_copy_is_another_list(client, made):
    answer = client.post("/lists", data={"copy_of": made["id"]}, follow_redirects=False)
    copied = answer.headers["location"].split("/")[2]
    assert copied != made["id"]
    found = client.get(f"{API}/{copied}").json()
    assert found["name"] == "Copy of Rivers & <b>"
    assert found["entries"] == client.get(f"{API}/{made['id']}").json()["entries"]


def test_a_page_of_a_list_shows_its_features_and_leads_on(pages, made):
    answer = pages.get(made["href"])
    page = Page(answer.text)
    for feature in FEATURES:
        assert f"/{feature}" in page.links()
    assert "Not published here now" in page.text
    assert [view.preview is None for view in answer.context["entries"]] == [False] * 4 + [True]
    assert all(view.preview.examples for view in answer.context["entries"][:3])
    steer = next(link for link in page.links() if link.startswith("/steer?"))
    assert steer == "/steer?" + "&".join(f"f={name}" for name in FEATURES[:3])  # not the dead one
    assert pages.get(steer).context["problem"] == ""
    assert {f"{made['href']}.{ending}" for ending in FORMATS} <= page.links()


def test_the_number_of_reads_does_not_grow_with_the_list(client, monkeypatch):
    from data.published.tables import PublishedRun

    reads: list[str] = []
    take = PublishedRun.take
    monkeypatch.setattr(
        PublishedRun, "take", lambda self, name, *rest: (reads.append(name), take(self, name, *rest))[1]
    )
    counted = []
    for number in (2, 50):
        body = {"entries": [{"feature": f"tiny/1-relu-256/{i}"} for i in range(10, 10 + number)]}
        made = client.post(API, json=body).json()
        client.get(made["href"])  # documents are remembered
        reads.clear()
        client.get(made["href"])
        counted.append(len(reads))
    assert counted[0] == counted[1] <= 4


def test_long_lists_turn_pages(client):
    body = {"entries": [{"feature": f"tiny/1-relu-256/{i}"} for i in range(120)]}
    made = client.post(API, json=body).json()
    second = Page(client.get(made["href"] + "?page=2").text)
    assert "51–100 of 120" in second.text
    assert {"?page=1", "?page=3"} <= second.links()
    assert edit(client, made, do="down", feature="tiny/1-relu-256/49").endswith("&page=2&done=down#e51")


def test_hostile_notes_are_shown_literally(client):
    entries = [{"feature": f"tiny/1-relu-256/{i}", "note": note} for i, note in enumerate(HOSTILE_NOTES)]
    made = client.post(API, json={"name": "<i>\u202ex", "entries": entries}).json()
    read = Page(client.get(made["href"]).text)
    assert "<script>alert(1)</script>" in read.text
    assert not {"\u202e", "\x1b"} & set(read.text)
    written = Areas(client.get(made["edit"]).text)
    assert [note for name, note in written.areas if name == "note"] == HOSTILE_NOTES


class Areas(HTMLParser):
    """The texts of the text areas of a page, as a browser reads them: without a newline that comes first."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.areas: list[tuple[str | None, str]] = []
        self._name: str | None = None
        self._within = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "textarea":
            self.areas.append((dict(attributes).get("name"), ""))
            self._within = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            name, content = self.areas.pop()
            self.areas.append((name, content.removeprefix("\n")))
            self._within = False

    def handle_data(self, data: str) -> None:
        if self._within:
            name, content = self.areas.pop()
            self.areas.append((name, content + data))


# ---- what is published changes, lists stay


@pytest.fixture
def own(
    tmp_path_factory: pytest.TempPathFactory, published_store: StorePaths, sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """A server on a copy of the store, which may be changed, with a database of each kind."""
    copied = StorePaths(tmp_path_factory.mktemp("lists") / "store")
    shutil.copytree(published_store.root, copied.root)
    monkeypatch.setenv(DATABASE_VARIABLE, copy_catalogue(published_store, sql_url))
    with TestClient(create_app(Settings(store=copied.root, live=False))) as client:
        yield client


def test_lists_survive_a_republish(own):
    entries = [{"feature": name, "note": "mine"} for name in FEATURES]
    made = own.post(API, json={"name": "Stays", "entries": entries}).json()
    before = own.get(f"{API}/{made['id']}").json()
    publish_run(own.app.state.settings.paths, "fake", "tiny", 1)
    after = own.get(f"{API}/{made['id']}").json()
    assert [e["feature"] for e in after["entries"]] == [e["feature"] for e in before["entries"]] == FEATURES
    assert [e["note"] for e in after["entries"]] == ["mine"] * 4
    assert [e["max"] for e in after["entries"]] != [e["max"] for e in before["entries"]]
    with own.app.state.library._engine.begin() as connection:
        connection.execute(text("DELETE FROM saes"))
        connection.execute(text("DELETE FROM runs"))
    gone = own.get(f"{API}/{made['id']}").json()
    assert [(e["feature"], e["published"]) for e in gone["entries"]] == [(name, False) for name in FEATURES]
    assert own.get(made["href"]).status_code == 200
    assert own.get(made["edit"]).status_code == 200


def test_deleting_leaves_no_entry(client, made):
    client.delete(f"{API}/{made['id']}", headers=bearer(made))
    with Session(client.app.state.library._engine) as session:
        left = select(ListEntryRecord).where(ListEntryRecord.list_id == made["id"])
        assert session.scalars(left).all() == []


def test_what_is_added_comes_last_even_after_others_went(client, made):
    for feature in FEATURES[:3]:
        assert client.delete(f"{API}/{made['id']}/entries/{feature}", headers=bearer(made)).status_code == 204
    added = client.post(f"{API}/{made['id']}/entries", json={"feature": FEATURES[0]}, headers=bearer(made))
    assert added.status_code == 201
    assert names(client, made) == [FEATURES[3], GONE, FEATURES[0]]


def test_a_feature_that_is_named_twice_is_added_once(client, made):
    client.delete(f"{API}/{made['id']}/entries/{FEATURES[0]}", headers=bearer(made))
    form = {"do": "add", "features": f"{FEATURES[0]}\n{FEATURES[0]}\n{FEATURES[1]}"}
    answer = client.post(made["edit"], data=form)
    assert answer.status_code == 200
    assert names(client, made) == [*FEATURES[1:], GONE, FEATURES[0]]


@pytest.mark.parametrize("path", ["/lists/a%00b", "/lists/a%00b/edit?key=x", "/api/v1/lists/a%00b"])
def test_an_id_that_no_list_can_have_is_not_looked_up(client, monkeypatch, path):
    monkeypatch.setattr(client.app.state.lists, "_engine", None)  # not every database takes such a text
    assert client.get(path).status_code == 404
