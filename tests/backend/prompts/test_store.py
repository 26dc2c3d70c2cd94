"""Prompts that are stored under an address of their content."""

import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine

from backend.app import create_app
from backend.exceptions import StoreFullError
from backend.prompts.store import MAX_ADDRESS_CHARACTERS, StoredPrompts, is_long
from backend.settings import Settings
from backend.texts import normalise
from data.layout import StorePaths
from data.sql.database import connect
from tests.support.prompts import TEXT


def test_the_form_leads_to_the_address_of_what_was_typed(live: TestClient) -> None:
    form = {"text": "the\r\nriver", "sae": ["tiny/1-relu-64", "tiny/1-relu-256"], "rank": "mean", "hide": "0.05"}
    page = live.post("/prompt", data=form)
    assert (page.status_code, len(page.history)) == (200, 1)
    state = page.context["state"]
    assert (state.text, state.sae, state.rank, state.hide) == ("the\nriver", form["sae"], "mean", 0.05)
    assert "text=the%0Ariver" in str(page.url)


def test_a_long_text_is_stored_once_under_an_address_of_its_content(live: TestClient) -> None:
    text = "a" * 60 + "é 😀" * 300
    first, second = (live.post("/prompt", data={"text": text}, follow_redirects=False) for _ in range(2))
    assert first.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    name = re.search(r"p=([0-9a-f]{24})", first.headers["location"])[1]
    stored = live.get(f"/api/v1/prompts/{name}").json()
    assert stored == {"id": name, "text": text, "href": f"/prompt?p={name}&hide=1"}
    page = live.get(first.headers["location"])
    assert page.status_code == 422  # stored and shown, though it has more tokens than this server reads
    assert page.context["state"].text == text
    assert f"p={name}" in page.context["state"].href(rank="rare")


def test_a_stored_text_is_read_as_the_same_text_in_the_address(live: TestClient) -> None:
    stored = live.post("/api/v1/prompts", json={"text": TEXT})
    assert stored.status_code == 201
    page, plain = live.get(stored.json()["href"]), live.get("/prompt", params={"text": TEXT})
    assert page.context["result"].overall == plain.context["result"].overall
    assert page.context["result"].tokens[1].href.startswith(f"/prompt?p={stored.json()['id']}&")


def test_an_address_with_a_long_text_offers_a_short_one(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": ("a" * 40 + "\n") * 49})
    assert page.status_code == 200
    assert "Store it under a short address" in page.text


def test_texts_beyond_the_limits_are_refused_with_the_limit(live: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    page = live.post("/prompt", data={"text": "a" * 20_001})
    assert page.status_code == 422
    assert "at most 20,000" in page.text
    answer = live.post("/api/v1/prompts", json={"text": "a" * 20_001})
    assert answer.status_code == 422
    assert "20000" in answer.json()["detail"]
    assert live.get("/prompt?p=none").status_code == 404
    monkeypatch.setattr(live.app.state.prompts._store, "_engine", None)  # not every database takes every text
    for none in ("none", "a%00b"):
        assert live.get(f"/api/v1/prompts/{none}").status_code == 404


@pytest.mark.parametrize("text", ["plain", "a\x00b", "\ud83d\ude00 \ud83d", "\u202e<b>", ""])
def test_any_text_comes_back_as_it_was(sql_url: str, text: str) -> None:
    engine = connect(sql_url)
    prompts = StoredPrompts(engine, 10)
    name = prompts.save(text)
    assert prompts.load(name) == normalise(text)
    assert prompts.save(text) == name
    assert prompts.load("0" * 24) is None
    engine.dispose()


def test_when_all_places_are_taken_old_prompts_stay_and_new_ones_are_refused(sql_url: str) -> None:
    engine = connect(sql_url)
    prompts = StoredPrompts(engine, 1)
    name = prompts.save("first")
    assert prompts.save("first") == name
    with pytest.raises(StoreFullError, match="MAX_STORED_PROMPTS"):
        prompts.save("second")
    engine.dispose()
    again = create_engine(engine.url)
    assert StoredPrompts(again, 1).load(name) == "first"
    again.dispose()


def test_a_server_that_keeps_no_prompts_says_so_on_the_page(chat_store: StorePaths) -> None:
    with TestClient(create_app(Settings(store=chat_store.root, max_stored_prompts=0))) as client:
        page = client.post("/prompt", data={"text": "the " * MAX_ADDRESS_CHARACTERS})
        assert page.status_code == 503
        assert "the limit is reached" in page.text


def test_texts_are_long_together_as_they_stand_in_an_address() -> None:
    assert not is_long("word " * 280)
    assert is_long("word " * 280, "word " * 80)
    assert is_long("é" * 400)
    assert not is_long("\ud800")
