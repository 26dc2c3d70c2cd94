"""What is refused before any endpoint sees it, and how much is kept."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from tests.steering import copied_database


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
    settings = Settings(store=published_store.root, live=False, trusted_hosts="features.example.org, another.test")
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


def test_lists_and_results_have_a_limit_and_say_which(published_store: StorePaths, tmp_path: Path) -> None:
    url = copied_database(published_store, tmp_path)
    settings = Settings(store=published_store.root, database_url=url, live=False, max_lists=1, max_results=0)
    with TestClient(create_app(settings)) as client:
        first = client.post("/api/v1/lists", json={"name": "first"})
        assert first.status_code == 201
        second = client.post("/api/v1/lists", json={"name": "second"})
        assert second.status_code == 503
        assert "MONOSEMA_MAX_LISTS" in second.json()["detail"]
        assert client.get(f"/api/v1/lists/{first.json()['id']}").status_code == 200
        body = {"features": [{"feature": "tiny/1-relu-64/3", "strength": 1}], "prompt": "the"}
        refused = client.post("/api/v1/steer", json=body)
        assert refused.status_code == 503
        assert "MONOSEMA_MAX_RESULTS" in refused.json()["detail"]
