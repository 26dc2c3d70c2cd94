"""Owners' labels over a server: who may write, what is kept and where it shows."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import update

from backend.app import create_app
from backend.published.corrections import Corrections, direction_hash
from backend.settings import Settings
from backend.web.owners import COOKIE
from data.layout import StorePaths
from data.owner import owner_key
from data.published.limits import MAX_LABEL, MAX_NOTE
from data.sql.database import DATABASE_VARIABLE, connect, database_url
from data.sql.records import FeatureLabelRecord
from tests.support.databases import copy_catalogue
from tests.support.fake_run import MARKED
from tests.support.serving import serving
from tests.support.stores import owned_store

FEATURE = "/tiny/1-relu-64/3"
FORM = FEATURE + "/label"


@pytest.fixture
def store(published_store: StorePaths, tmp_path: Path, sql_url: str, monkeypatch: pytest.MonkeyPatch) -> StorePaths:
    """The fake run with a database, of each kind, and an owner of its own."""
    monkeypatch.setenv(DATABASE_VARIABLE, copy_catalogue(published_store, sql_url))
    return owned_store(published_store, tmp_path / "store")


@pytest.fixture
def visitor(store: StorePaths) -> Iterator[httpx.Client]:
    with (
        serving(create_app(Settings(store=store.root, live=False))) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def owner(visitor: httpx.Client, store: StorePaths) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=visitor.base_url, follow_redirects=True, timeout=60) as client:
        assert "This browser is an owner" in client.get("/owner", params={"key": owner_key(store)}).text
        yield client


def test_the_key_is_the_owners_alone_and_stays(store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    key = owner_key(store)
    assert len(key) >= 32
    assert stat.S_IMODE(os.stat(store.owner_key).st_mode) == 0o600
    assert owner_key(store) == key
    monkeypatch.setenv("MONOSEMA_OWNER_KEY", "another")
    assert owner_key(store) == "another"


def test_the_owner_link_sets_a_cookie_that_scripts_and_others_cannot_use(
    visitor: httpx.Client, store: StorePaths
) -> None:
    answer = visitor.get("/owner", params={"key": owner_key(store)})
    assert answer.status_code == 303
    assert owner_key(store) not in answer.headers["location"] + answer.headers["set-cookie"]
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=lax" in answer.headers["set-cookie"]
    assert answer.headers["cache-control"] == "no-store"


def test_visitors_see_labels_but_no_form(visitor: httpx.Client, owner: httpx.Client) -> None:
    assert owner.post(FORM, data={"label": "Bridges", "note": "seen\non rivers"}).status_code == 200
    page = visitor.get(FEATURE).text
    assert "<h1><bdi>Bridges</bdi></h1>" in page
    assert "seen\non rivers" in page
    assert '<form class="list-form"' not in page
    assert '<form class="list-form"' in owner.get(FEATURE).text
    assert visitor.get(FORM).status_code == visitor.post(FORM, data={"label": "mine"}).status_code == 403
    assert visitor.get(FEATURE + ".json").json()["owner_label"] == "Bridges"


@pytest.mark.parametrize("cookie", ["", "1.2", "99999999999.x", "ü.ü", "1" * 11 + "." + "0" * 64])
def test_forged_cookies_are_nobodys(visitor: httpx.Client, cookie: str) -> None:
    answer = visitor.post(FORM, data={"label": "x"}, headers={"cookie": f"{COOKIE}={cookie}".encode()})
    assert answer.status_code == 403


def test_a_wrong_key_makes_no_owner(visitor: httpx.Client) -> None:
    answer = visitor.get("/owner", params={"key": "wrong"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_another_site_cannot_write_with_an_owners_browser(owner: httpx.Client) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "http://elsewhere.example"}):
        assert owner.post(FORM, data={"label": "x"}, headers=headers).status_code == 403
    assert owner.get(FEATURE + ".json").json()["owner_label"] == ""


@pytest.mark.parametrize(
    ("label", "note", "said"),
    [
        ("x" * (MAX_LABEL + 1), "", f"A label has {MAX_LABEL} characters at most; this has {MAX_LABEL + 1}"),
        ("be\u0007ll", "", "no control characters"),
        ("\u202eevil", "", "no control characters"),
        ("fine", "n" * (MAX_NOTE + 1), f"A note has {MAX_NOTE:,} characters at most"),
        ("a\0b", "", "not text"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_what_was_typed(
    owner: httpx.Client, label: str, note: str, said: str
) -> None:
    answer = owner.post(FORM, data={"label": label, "note": note})
    assert answer.status_code == 422
    assert said in answer.text
    assert f'value="{label}"' in answer.text or "\0" in label
    assert note in answer.text
    assert owner.get(FEATURE + ".json").json()["owner_label"] == ""


def test_an_empty_label_shows_ours_again(owner: httpx.Client) -> None:
    ours = owner.get(FEATURE + ".json").json()["label"]
    owner.post(FORM, data={"label": "Bridges"})
    assert f'<bdi class="our-label">{ours}</bdi>' in owner.get(FEATURE).text
    owner.post(FORM, data={"label": "  ", "note": "still noted"})
    page = owner.get(FEATURE).text
    assert f"<h1><bdi>{ours}</bdi></h1>" in page
    assert "still noted" in page


def test_an_owners_label_wins_wherever_a_feature_is_named(visitor: httpx.Client, owner: httpx.Client) -> None:
    owner.post(FORM, data={"label": "Bridges & <b>"})
    for address in ("/search?q=bridg", "/tiny/1-relu-64?sort=index&q=BRIDGES", f"/compare?f={FEATURE[1:]}"):
        page = visitor.get(address).text
        assert "Bridges" in page, address
        assert "Bridges & <b>" not in page
    found = visitor.get("/api/v1/search", params={"q": "bridg"}).json()
    assert found["hits"][0]["feature"]["index"] == 3
    assert visitor.get("/search?q=bridg&in=promoted").text.count("Bridges") == 0


def test_what_was_written_of_other_weights_is_of_an_earlier_state(
    visitor: httpx.Client, owner: httpx.Client, store: StorePaths
) -> None:
    owner.post(FORM, data={"label": "Bridges", "note": "rivers"})
    engine = connect(database_url(store))
    with engine.begin() as connection:
        change = {"direction": "0" * 32, "revision": FeatureLabelRecord.revision + 1}
        connection.execute(update(FeatureLabelRecord).values(**change))
    engine.dispose()
    page = visitor.get(FEATURE).text
    assert "<h1><bdi>Bridges" not in page
    assert "Of an earlier state of this run" in page
    assert visitor.get("/api/v1/search", params={"q": "bridges"}).json()["hits"] == []


def test_a_second_server_sees_what_the_first_wrote(owner: httpx.Client, store: StorePaths) -> None:
    with (
        serving(create_app(Settings(store=store.root, live=False))) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        assert client.get(f"{FEATURE}.json").json()["owner_label"] == ""
        owner.post(f"/tiny/1-relu-64/{MARKED}/label", data={"label": "Marked"})
        assert client.get(f"/tiny/1-relu-64/{MARKED}.json").json()["owner_label"] == "Marked"


def test_leaving_makes_a_visitor(owner: httpx.Client) -> None:
    assert "Who starts this server" in owner.post("/owner/leave").text
    assert owner.post(FORM, data={"label": "x"}).status_code == 403


def test_the_store_is_limited(store: StorePaths) -> None:
    with (
        serving(create_app(Settings(store=store.root, live=False, max_labels=1))) as address,
        httpx.Client(base_url=address, follow_redirects=True, timeout=60) as owner,
    ):
        owner.get("/owner", params={"key": owner_key(store)})
        assert owner.post(FORM, data={"label": "one"}).status_code == 200
        assert owner.post(FORM, data={"label": "one again"}).status_code == 200
        answer = owner.post("/tiny/1-relu-64/4/label", data={"label": "two"})
        assert answer.status_code == 503
        assert "MONOSEMA_MAX_LABELS" in answer.text
        assert 'value="two"' in answer.text


def test_the_hash_names_a_direction() -> None:
    vector_D = np.arange(4, dtype=np.float32)
    assert direction_hash(vector_D) == direction_hash(pa.array(vector_D).to_numpy())
    assert direction_hash(vector_D) != direction_hash(vector_D + 1)
    assert Corrections().matching([]) == []
