from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.app import create_app
from backend.published.catalogue import Library
from backend.settings import Settings
from data import CONTRACT_VERSION
from data.layout import StorePaths
from data.sql.database import DATABASE_VARIABLE, connect, database_url
from data.sql.records import PublishedRunRecord, SAERecord
from tests.support.databases import copy_catalogue


@pytest.fixture
def copy(published_store: StorePaths, tmp_path: Path, sql_url: str, monkeypatch: pytest.MonkeyPatch) -> StorePaths:
    """The published run with a database of its own, of each kind."""
    store = StorePaths(tmp_path)
    monkeypatch.setenv(DATABASE_VARIABLE, copy_catalogue(published_store, sql_url))
    store.published.symlink_to(published_store.published)
    return store


def change(store: StorePaths, **values: object) -> None:
    engine = connect(database_url(store))
    with Session(engine) as session, session.begin():
        session.execute(update(PublishedRunRecord).values(**values))
    engine.dispose()


def test_a_run_is_opened_once_and_again_when_it_is_republished(copy):
    engine = connect(database_url(copy))
    library = Library(engine, copy)
    first = library.catalogue()
    assert library.catalogue() is first
    change(copy, key="another")
    second = library.catalogue()
    assert second.runs[0] is not first.runs[0]
    assert second.runs[0].folder.name == "another"
    engine.dispose()


ADDRESSES = (
    "/explore",
    "/prompt",
    "/random",
    "/tiny/1-relu-64",
    "/tiny/1-relu-64/3",
    "/api/v1/features/tiny/1-relu-64",
)


def add_run(store: StorePaths, **values: object) -> None:
    """A second run in SQL alone, older than the first."""
    engine = connect(database_url(store))
    with Session(engine) as session, session.begin():
        other = session.scalars(select(PublishedRunRecord)).one()
        names = {c.name for c in PublishedRunRecord.__table__.columns} - {"id"}
        record = PublishedRunRecord(**{**{name: getattr(other, name) for name in names}, **values})
        record.created = other.created - timedelta(days=1)
        sae = other.saes[0]
        names = {c.name for c in SAERecord.__table__.columns} - {"id", "run_id", "model"}
        record.saes = [SAERecord(**{name: getattr(sae, name) for name in names}, model=record.model)]
        session.add(record)
    engine.dispose()


def test_a_run_of_an_older_contract_is_left_out_and_the_others_are_shown(copy):
    add_run(copy, name="old", model="old", contract=0)
    with TestClient(create_app(Settings(store=copy.root, live=False))) as client:
        home = client.get("/")
        assert home.status_code == 200
        assert "Run &#39;old&#39; is not shown" in home.text
        assert "run its recipe again" in home.text
        assert "/tiny/1-relu-64" in home.text
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert [run["run"] for run in ready.json()["left_out"]] == ["old"]
        assert "under contract version 0" in ready.json()["left_out"][0]["reason"]
        for path in ADDRESSES:
            assert client.get(path).status_code == 200, path
            asked = path.replace("tiny", "old") if "tiny" in path else f"{path}?run=old"
            if "prompt" not in path:
                answer = client.get(asked)
                assert answer.status_code == 503, asked
                assert "run its recipe again" in answer.text


def test_where_the_only_run_is_left_out_every_page_says_so(copy):
    change(copy, contract=0)
    with TestClient(create_app(Settings(store=copy.root, live=False))) as client:
        home = client.get("/")
        assert home.status_code == 200
        assert "run its recipe again" in home.text
        assert "Nothing is published" not in home.text
        for path in (*ADDRESSES, "/readyz", "/search?q=a"):
            answer = client.get(path)
            assert answer.status_code == 503, path
            assert "under contract version 0" in answer.text, path
        assert client.get("/api/v1/saes").json() == []


def test_a_run_of_a_newer_contract_asks_for_newer_code(copy):
    change(copy, contract=CONTRACT_VERSION + 1)
    with TestClient(create_app(Settings(store=copy.root, live=False))) as client:
        assert "update the server" in client.get("/").text


def test_without_anything_published_every_page_says_what_to_do(tmp_path):
    with TestClient(create_app(Settings(store=tmp_path, live=False))) as client:
        home = client.get("/")
        assert home.status_code == 200
        assert "make demo" in home.text
        for path in ("/explore", "/search", "/random"):
            answer = client.get(path)
            assert answer.status_code == 404
            assert "make demo" in answer.text
        assert client.get("/api/v1/saes").json() == []
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
