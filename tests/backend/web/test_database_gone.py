"""A database that cannot be reached while the server runs."""

from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy import create_engine

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.databases import Start, copy_catalogue


def test_it_is_said_and_passes(published_store: StorePaths, postgres: Start, tmp_path: Path) -> None:
    url = copy_catalogue(published_store, postgres().create())
    with TestClient(create_app(Settings(store=published_store.root, live=False, database_url=url))) as client:
        assert client.get("/").status_code == 200
        library = client.app.state.library
        reached, library._engine = library._engine, create_engine(f"postgresql+psycopg://x@/x?host={tmp_path}")
        page, answer = client.get("/"), client.get("/api/v1/saes")
        assert (page.status_code, answer.status_code, answer.headers["retry-after"]) == (503, 503, "5")
        assert "database cannot be reached" in page.text
        assert "database cannot be reached" in answer.json()["detail"]
        assert str(tmp_path) not in page.text + answer.text
        assert client.get("/healthz").status_code == 200
        library._engine.dispose()
        library._engine = reached
        assert client.get("/").status_code == 200
