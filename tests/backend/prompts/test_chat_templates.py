"""Prompts in a chat template: what its tokens are, and whether they count."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.marked import FILLED, MARK


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("text", ["the river", "<s>the <s> river</s>", "<s>"])
def test_exactly_one_bos_also_when_the_text_names_it(live: TestClient, text: str, chat: bool) -> None:
    tokens = live.post("/api/v1/activations", json={"text": text, "chat": chat}).json()["tokens"]
    ids = [token["token"] for token in tokens]
    assert (ids[0], ids.count(0)) == (0, 1)
    shown = "".join(token["text"] for token in tokens[1:]).replace("␣", " ")
    assert shown == text + ("</s>" if chat else "")
    assert (1 in ids) == chat  # only the template itself ends a turn


def test_what_the_chat_template_says_is_shown_but_not_counted(live: TestClient) -> None:
    found = live.post("/api/v1/activations", json={"text": "the river", "chat": True, "limit": 1000}).json()
    counted = [token["text"] for token in found["tokens"] if not token["left_out"]]
    assert "".join(counted) == "the river"
    assert len(counted) < len(found["tokens"]) - 1
    (sae,) = found["saes"]
    for token, active in zip(found["tokens"], sae["by_token"], strict=True):
        assert not (token["left_out"] and active)


def texts_of(page: Any, *, left_out: bool) -> str:
    tokens = [token for token in page.context["result"].tokens if token.left_out == left_out]
    return "".join(token.text for token in tokens).replace("␣", " ").replace("↵", "\n")


@pytest.mark.parametrize("query", [{"text": FILLED}, {"text": "the river", "chat": 1}])
def test_the_tokens_of_a_chat_template_are_faint_and_count_where_asked_for(
    marked: TestClient, query: dict[str, Any]
) -> None:
    page = marked.get("/prompt", params=query)
    result = page.context["result"]
    assert texts_of(page, left_out=False) == "the river"
    assert {token.whose for token in result.tokens if token.left_out} == {"template"}
    assert page.text.count('class="cell uncounted"') == result.template.num == len(result.tokens) - result.num_counted
    assert "left-out" not in page.text
    assert result.template.is_text == ("chat" not in query)
    assert result.overall
    assert not any(result.tokens[one.token].left_out for one in result.overall)
    assert marked.get(result.tokens[0].href).context["result"].token_total == 0
    counting = marked.get(result.template.switch)
    shown = counting.context["result"]
    assert [token.text for token in shown.tokens] == [token.text for token in result.tokens]
    assert texts_of(counting, left_out=False) == f"{MARK}user\nthe river{MARK}\n"
    assert 'id="template" name="template" value="1" checked' in counting.text
    assert shown.total >= result.total
    opening = shown.tokens[0]
    assert (opening.left_out, opening.whose, opening.about.endswith(": left out")) == (True, "", True)
    assert 'class="cell uncounted"' not in counting.text
    assert shown.template.num == result.template.num - 1 == sum(token.whose != "" for token in result.tokens[1:])
    assert "This token is left out" in marked.get(opening.href).text
    assert marked.get(shown.template.switch).context["result"].overall == result.overall


def test_a_filled_template_is_the_chat_that_filled_it_or_plain_text(marked: TestClient) -> None:
    filled = marked.get("/prompt", params={"text": FILLED}).context["result"]
    chat = marked.get("/prompt", params={"text": "the river", "chat": 1}).context["result"]
    assert [(one.feature, one.score) for one in filled.overall] == [(one.feature, one.score) for one in chat.overall]
    plain = marked.get(filled.template.plain)
    assert plain.context["result"].template is None
    assert len(plain.context["result"].tokens) > len(filled.tokens)
    assert 'id="plain" name="plain" value="1" checked' in plain.text
    body = {"text": FILLED, "limit": 1000}
    assert [one["whose"] for one in marked.post("/api/v1/activations", json=body).json()["tokens"]] == [""] * len(
        plain.context["result"].tokens
    )
    read = marked.post("/api/v1/activations", json={**body, "special_tokens": True}).json()
    assert "".join(one["text"] for one in read["tokens"] if not one["whose"]).replace("␣", " ") == "the river"
    every = marked.post("/api/v1/activations", json={**body, "special_tokens": True, "template_tokens": True}).json()
    assert sum(one["left_out"] for one in every["tokens"]) == 1, "the opening one"
    assert sum(map(len, every["saes"][0]["by_token"])) > sum(map(len, read["saes"][0]["by_token"]))


def test_outputs_of_a_filled_template_are_attributed_to_its_own_tokens(marked: TestClient) -> None:
    page = marked.get("/prompt", params={"text": FILLED, "target": "#70", "k": 0})
    assert page.status_code == 200
    names = {row.where for table in page.context["attribution"].tables for row in table.rows}
    assert names
    assert names <= {"t", "h", "e", "␣river"}


def test_a_model_without_a_chat_template_offers_plain_text(published_store: StorePaths) -> None:
    with TestClient(create_app(Settings(store=published_store.root))) as client:
        page = client.get("/prompt", params={"text": "the", "chat": 1})
        assert page.status_code == 422
        assert "chat template" in page.text
        assert "Read it as plain text" in page.text
