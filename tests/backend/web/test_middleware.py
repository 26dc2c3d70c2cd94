"""What is refused before any endpoint sees it, and how much is kept."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.app import create_app
from backend.settings import Settings
from backend.web.middleware import MAX_BODY
from data.layout import StorePaths
from data.sql.database import connect
from data.sql.records import ListRecord
from tests.support.lists import API
from tests.support.steering import copied_database


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("app.localhost:8000", True),
        ("127.0.0.1:8000", True),
        ("192.168.1.7", True),
        ("[::1]:8000", True),
        ("features.example.org", True),
        ("Features.Example.org.:443", True),
        ("other.example.org", False),
        ("example.org", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_only_names_that_nobody_else_can_have_given_are_answered(
    published_store: StorePaths, host: str, known: bool
) -> None:
    settings = Settings(store=published_store.root, live=False, trusted_hosts="Features.example.org:8443, another.test")
    with TestClient(create_app(settings)) as client:
        answer = client.get("/readyz", headers={"host": host})
        assert answer.status_code == (200 if known else 421)
        if not known:
            assert "MONOSEMA_TRUSTED_HOSTS" in answer.json()["detail"]
            assert "MONOSEMA_TRUSTED_HOSTS" in client.get("/", headers={"host": host}).text


def test_a_star_trusts_every_name(published_store: StorePaths) -> None:
    settings = Settings(store=published_store.root, live=False, trusted_hosts="*")
    with TestClient(create_app(settings)) as client:
        assert client.get("/", headers={"host": "any.example.org"}).status_code == 200


def test_lists_have_a_limit_and_old_ones_stay(published_store: StorePaths, tmp_path: Path) -> None:
    url = copied_database(published_store, tmp_path)
    engine = connect(url)
    with Session(engine) as session:
        there = session.scalar(select(func.count()).select_from(ListRecord))
    engine.dispose()
    settings = Settings(store=published_store.root, database_url=url, live=False, max_lists=there + 1)
    with TestClient(create_app(settings)) as client:
        first = client.post("/api/v1/lists", json={"name": "first"})
        assert first.status_code == 201
        second = client.post("/api/v1/lists", json={"name": "second"})
        assert second.status_code == 503
        assert "MONOSEMA_MAX_LISTS" in second.json()["detail"]
        assert client.get(f"/api/v1/lists/{first.json()['id']}").status_code == 200


def test_a_body_that_is_too_large_is_not_read(client: TestClient) -> None:
    assert client.post("/lists/import", files={"file": ("x.csv", b"x" * (MAX_BODY + 1))}).status_code == 413
    endless = (b"x" * 2**20 for _ in range(MAX_BODY // 2**20 + 2))
    answer = client.post(API, content=endless, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["status"]) == (413, 413)


@pytest.mark.parametrize("path", ["/lists", "/steer", API])
@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, True),
        ({"origin": "https://elsewhere.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://testserver"}, True),
        ({}, True),
    ],
)
def test_other_sites_change_nothing(client: TestClient, path: str, headers: dict[str, str], passes: bool) -> None:
    body = {"json": {}} if path == API else {"data": {"name": "x"}}
    answer = client.post(path, headers=headers, follow_redirects=False, **body)
    assert (answer.status_code != 403) == passes
    if not passes and path == API:
        assert answer.headers["content-type"] == "application/problem+json"
