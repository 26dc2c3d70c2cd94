"""Trying a filled chat template on a feature: the same tokens, counted or not, as on the prompt page."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.marked import FILLED

FEATURE = "tiny/1-relu-64/3"


def tried(client: TestClient, text: str = FILLED, **asked: bool) -> dict[str, Any]:
    return dict(client.post(f"/api/v1/features/{FEATURE}/activations", json={"text": text, **asked}).json())


@pytest.mark.parametrize(
    ("asked", "query"),
    [
        ({"special_tokens": True}, {}),
        ({"special_tokens": True, "template_tokens": True}, {"template": 1}),
        ({}, {"plain": 1}),
    ],
)
def test_its_tokens_are_those_of_the_prompt_page(
    marked: TestClient, asked: dict[str, bool], query: dict[str, int]
) -> None:
    page = marked.get("/prompt", params={"text": FILLED, "f": FEATURE, **query}).context["result"]
    answer = tried(marked, **asked)
    told = [(one["left_out"], one["whose"], one["level"]) for one in answer["tokens"]]
    assert told == [(one.left_out, one.whose, one.level) for one in page.tokens]
    expected = {"num": page.template.num, "is_text": True} if page.template else None
    assert answer["template"] == expected


def test_why_a_token_is_not_counted_is_said(marked: TestClient) -> None:
    faint, counted = tried(marked, special_tokens=True), tried(marked, special_tokens=True, template_tokens=True)
    assert {one["why_out"] for one in faint["tokens"] if one["left_out"]} == {"of the chat template, not counted"}
    assert {one["why_out"] for one in faint["tokens"] if not one["left_out"]} == {""}
    assert [one["why_out"] for one in counted["tokens"] if one["left_out"]] == ["not counted"]


def test_a_text_that_is_put_into_the_template_is_not_the_template(marked: TestClient) -> None:
    answer = tried(marked, "the river", chat=True)
    assert answer["template"]["is_text"] is False
    assert answer["template"]["num"] == sum(one["whose"] == "template" for one in answer["tokens"])
    assert tried(marked, "the river")["template"] is None
