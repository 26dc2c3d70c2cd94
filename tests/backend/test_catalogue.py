from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlalchemy.orm import Session

from backend.app import create_app
from backend.catalogue import Library
from backend.settings import Settings
from data.errors import ContractError
from data.layout import StorePaths
from data.sql import PublishedRunRecord, connect, database_url


@pytest.fixture
def copy(published_store: StorePaths, tmp_path: Path) -> StorePaths:
    """The published run with a database of its own."""
    store = StorePaths(tmp_path)
    store.database.write_bytes(published_store.database.read_bytes())
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


def test_a_run_of_another_contract_is_refused_with_what_to_do(copy):
    change(copy, contract=0)
    engine = connect(database_url(copy))
    with pytest.raises(ContractError, match="run its recipe again"):
        Library(engine, copy).catalogue()
    engine.dispose()
    with TestClient(create_app(Settings(store=copy.root, live=False))) as client:
        assert client.get("/").status_code == 503
        assert "run its recipe again" in client.get("/").text
        assert client.get("/api/v1/saes").json()["status"] == 503


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
