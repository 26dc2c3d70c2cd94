"""Prompts that are not read: what the page and the API answer then."""

import pytest
from fastapi.testclient import TestClient

from backend.exceptions import BusyError, TooManyError
from backend.web.clients import Client, ClientQuota

FEATURE = "tiny/1-relu-64/3"
ASKED: dict[str, dict[str, object]] = {
    "/api/v1/search": {"positive": ["the"]},
    "/api/v1/prompts/for-topic": {"topic": "the"},
    "/api/v1/attribution": {"text": "the", "target": "#5"},
    f"/api/v1/features/{FEATURE}/activations": {"text": "the"},
}
"""What the model is asked for, each of which takes a place of its client."""


def test_a_prompt_that_is_refused_is_answered_on_the_page(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": "a" * 300})
    assert page.status_code == 422
    assert "at most 100" in page.text
    assert 'id="reading"' in page.text


def test_saes_of_several_runs_or_unknown_ones_are_refused_inline_or_not_found(live: TestClient) -> None:
    assert live.get("/prompt", params={"text": "the", "sae": "tiny/none"}).status_code == 404
    assert live.get("/prompt", params={"text": "the", "f": "tiny/none/3"}).status_code == 422


def test_a_busy_server_says_so_on_the_page_with_a_way_on(live: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(job: object) -> None:
        raise BusyError("the queue is full (16 requests): try again in a few seconds")

    monkeypatch.setattr(live.app.state.engine.worker, "submit", busy)
    page = live.get("/prompt", params={"text": "never read before"})
    assert page.status_code == 503
    assert "try again in a few seconds" in page.text
    assert [step.text for step in page.context["problem"].next_steps] == ["Try again"]


def test_one_client_has_one_reading_and_one_that_waits(live: TestClient) -> None:
    quota, me, neighbour = live.app.state.quota, Client("testclient", "me"), Client("testclient", "other")
    live.cookies.clear()  # of what pages gave it before
    live.cookies.set("visitor", "me")
    with quota.take(me), quota.take(me):
        answer = live.post("/api/v1/activations", json={"text": "the"})
        assert answer.status_code == 429
        assert "one waiting" in answer.json()["detail"]
        assert answer.headers["retry-after"] == "5"
        for path in ("/prompt?text=the", "/search?by=prompts&pos=the"):
            page = live.get(path)
            assert page.status_code == 429
            assert page.headers["retry-after"] == "5"
            assert [step.text for step in page.context["problem"].next_steps] == ["Try again"]
        for path, body in ASKED.items():
            refused = live.post(path, json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "5"), path
        for path in (f"/api/v1/features/{FEATURE}/examples/top/0/{what}" for what in ("causes", "effects")):
            assert live.get(path).status_code == 429, path
        page = live.get(f"/{FEATURE}/example")
        assert (page.status_code, page.headers["retry-after"]) == (429, "5")
        with quota.take(neighbour):  # somebody else at the same address is not kept from it
            pass
    assert live.post("/api/v1/activations", json={"text": "the"}).status_code == 200
    live.cookies.clear()
    few = ClientQuota(3)
    with few.take(me), few.take(me), few.take(neighbour), pytest.raises(TooManyError, match="your network"):
        few.take(Client("testclient", "third")).__enter__()
