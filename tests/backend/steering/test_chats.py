"""Chats of several turns: each side goes on from its own answers, and the whole is kept and shown as bubbles."""

import json
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from backend.settings import Settings
from data.layout import StorePaths
from tests.support.pages import Page
from tests.support.steering import FEATURE, Server, chatting_store, ids, steering_server, tokens_of

TURN = {"message": "the river", "baseline": " of Oxford", "steered": " was music"}


@pytest.fixture(scope="module")
def server(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = chatting_store(published_store, tmp_path_factory.mktemp("chats"))
    with steering_server(Settings(store=store.root, max_prompt_tokens=200, max_new_tokens=24)) as server:
        yield server


def read_by(events: list[Any], row: int) -> str:
    """The prompt of a row."""
    return "".join(data["text"] for data in tokens_of(events, row) if data["probability"] is None)


def test_each_side_goes_on_from_its_own_answers(server: Server) -> None:
    asked = {"chat": True, "prompt": "and the war", "history": [TURN], "temperature": 0.8, "max_new_tokens": 5}
    events = server.steer(**asked)
    plain, steered = (read_by(events, row) for row in range(2))
    assert "assistant: of Oxford\nuser: and the war\nassistant:" in plain.replace("assistant:  ", "assistant: ")
    assert "was music" in steered
    assert "was music" not in plain
    assert "of Oxford" not in steered
    off = server.steer(**asked, features=[{"feature": FEATURE, "strength": None}])
    assert ids(off, 0) == ids(events, 0)
    assert read_by(off, 1) == steered, "only the answers tell the sides apart"


def test_a_chat_says_what_the_template_says_first(server: Server) -> None:
    events = server.steer(chat=True, max_new_tokens=2)
    assert [data for _, name, data in events if name == "chat"] == [{"system": "Be brief"}]
    again = server.steer(chat=True, max_new_tokens=2)
    assert again[-1][2]["stored"]
    assert [data for _, name, data in again if name == "chat"] == [{"system": "Be brief"}]


def test_another_history_is_another_result(server: Server) -> None:
    results = {
        server.steer(chat=True, max_new_tokens=1, history=history)[-1][2]["result"]
        for history in ([], [TURN], [{**TURN, "baseline": "x"}], [{**TURN, "steered": "x"}], [TURN, TURN])
    }
    assert len(results) == 5


def test_a_result_shows_the_whole_conversation_as_bubbles_and_leads_on(server: Server) -> None:
    done = server.steer(chat=True, prompt="and the war", history=[TURN], max_new_tokens=4)[-1][2]
    page = Page(server.http.get(done["result"]).text)
    said = [one["class"] for _, one in page.elements if "bubble said" in (one.get("class") or "")]
    assert len(said) == 2
    for text in ("the river", "and the war", "of Oxford", "was music", "Be brief"):
        assert text in page.text
    for raw in ("user:", "assistant:", "system:"):
        assert raw not in page.text, "what the template says around the messages is not shown"
    go_on = next(link for link in page.links() if "after=" in link and "prompt=&" in link)
    next_page = server.http.get(unescape(go_on)).text
    turns = json.loads(next_page.partition('id="state">')[2].partition("</script>")[0])["turns"]
    kept = server.http.get(f"{done['result']}.json").json()
    written = ["".join(t["text"] for t in row["tokens"] if t["probability"] is not None) for row in kept["rows"]]
    assert turns == [TURN, {"message": "and the war", "baseline": written[0], "steered": written[1]}]


def test_without_javascript_a_form_goes_on_from_a_result(server: Server) -> None:
    form = {"f": f"{FEATURE}:4", "chat": "1", "temperature": "0", "new_tokens": "3"}
    first = server.http.post("/steer", data={**form, "prompt": "the river"})
    second = server.http.post("/steer", data={**form, "prompt": "more", "after": first.headers["location"][3:]})
    kept = server.http.get(second.headers["location"] + ".json").json()
    assert [turn["message"] for turn in kept["history"]] == ["the river"]
    third = server.http.get("/steer", params={**form, "after": second.headers["location"][3:], "fresh": "1"}).text
    assert 'name="after" value=""' in third
    assert 'bubble said" dir="auto">the river' not in third


def test_an_address_whose_message_is_answered_shows_the_answer(server: Server) -> None:
    result = server.steer(chat=True, prompt="the war", max_new_tokens=3, top_p=1.0)[-1][2]["result"]
    asked = {"f": f"{FEATURE}:4", "chat": "1", "temperature": "0", "top_p": "1", "new_tokens": "3", "prompt": "the war"}
    page = server.http.get("/steer", params=asked).text
    assert f'name="after" value="{result[3:]}"' in page
    assert '<p class="bubble said" dir="auto">the war</p>' in page


def test_strengths_that_are_compared_go_on_from_what_was_said_before(server: Server) -> None:
    asked = {"chat": True, "prompt": "more", "history": [TURN], "sweep": True, "strengths": [1, 3], "max_new_tokens": 2}
    events = server.steer(**asked)
    assert [read_by(events, row) == read_by(events, 1) for row in range(3)] == [False, True, True]
    page = Page(server.http.get(events[-1][2]["result"]).text)
    again = next(link for link in page.links() if "sweep=1" in link)
    shown = server.http.get(unescape(again)).text
    assert "was music" in shown
    assert "more</textarea>" in shown
    assert 'name="strengths" value="1, 3"' in shown
