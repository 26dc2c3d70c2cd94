"""The page of the search by prompts."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.prompt_search import LOOSE, NEGATIVE, POSITIVE, found, search


def test_the_other_search_keeps_its_address(live: TestClient) -> None:
    assert live.get("/search?q=river").template.name == "search/search.html"
    assert live.get("/search?by=words").template.name == "search/search.html"
    assert live.get("/search?by=prompts").template.name == "search/prompt_search.html"
    assert live.get("/search?by=prompts&by=words").template.name == "search/search.html"


@pytest.mark.parametrize("query", [{}, {"pos": POSITIVE, "neg": NEGATIVE}, {"pos": ["the"], "topic": "x", "edit": 1}])
def test_the_page_shows_hostile_prompts_literally(live: TestClient, query: dict[str, Any]) -> None:
    answer = live.get("/search", params={"by": "prompts", **query})
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text


def test_the_form_leads_to_an_address_that_says_it_all(live: TestClient) -> None:
    form = {
        "pos": [*POSITIVE[:2], ""], "neg": ["", "war\r\nand"], "at_least": "0.05", "at_most": "0.2", "hide": "1",
        "order": "weakest", "sae": ["tiny/1-relu-64", "tiny/1-relu-256"],
    }  # fmt: skip
    page = live.post("/search", data=form)
    assert (page.status_code, len(page.history)) == (200, 1)
    assert page.history[0].headers["location"].endswith("#found")
    state = page.context["state"]
    assert [entry.text for entry in state.positive] == POSITIVE[:2]
    assert [entry.text for entry in state.negative] == ["war\nand"]
    assert (state.form.at_least, state.form.at_most, state.form.hide, state.form.order) == (0.05, 0.2, 1, "weakest")
    shown = {(one.match.feature.sae, one.match.feature.index) for one in page.context["result"].matches}
    asked = {"saes": form["sae"], "at_least": 0.05, "at_most": 0.2, "limit": 100}
    assert shown == found(search(live, POSITIVE[:2], ["war\nand"], **asked))


def test_a_prompt_of_blanks_is_a_prompt(live: TestClient) -> None:
    page = live.post("/search", data={"pos": ["the river", "  ", "\r\n", ""], "hide": "1"})
    assert page.status_code == 200
    assert [entry.text for entry in page.context["state"].positive] == ["the river", "  ", "\n"]


def test_long_prompts_are_stored_and_found_again(live: TestClient) -> None:
    long = [("a" * 40 + "\n") * 30 + text for text in ("river", "war")]
    page = live.post("/search", data={"pos": [*long, "the river"], "neg": []})
    assert page.status_code == 200
    assert len(str(page.url)) < 300
    state = page.context["state"]
    assert {entry.text for entry in state.positive} == {*long, "the river"}
    again = live.post("/search", data={"pos": [entry.text for entry in state.positive], "neg": []})
    assert again.url == page.url
    refused = live.post("/search", data={"pos": ["a" * 20_001, "b" * 3000]})
    assert refused.status_code == 422
    assert "at most 20,000" in refused.text


def test_when_nothing_is_left_every_way_on_keeps_its_promise(live: TestClient) -> None:
    asked = {"by": "prompts", "pos": POSITIVE[:2], "neg": [POSITIVE[0]], "at_least": 0.1, "at_most": 0.05, "hide": 1}
    page = live.get("/search", params=asked)
    result = page.context["result"]
    assert result.found.total == 0
    assert len(result.next_steps) >= 2
    for way in result.next_steps:
        promised = int(way.text.rpartition(" ")[2].replace(",", ""))
        assert live.get(way.href).context["result"].found.total == promised > 0
    for step in result.steps:
        if step.without:
            assert live.get(step.without).context["result"].found.total == step.step.without


def test_see_leads_to_the_prompt_page_with_the_feature(live: TestClient) -> None:
    match = live.get("/search", params={"by": "prompts", "pos": POSITIVE, **LOOSE}).context["result"].matches[0]
    page = live.get(match.see)
    assert page.context["focus"].name == match.match.feature.name
    assert page.context["state"].text == POSITIVE[0]


def test_a_refused_prompt_is_named_on_the_page_and_nothing_is_lost(live: TestClient) -> None:
    page = live.get("/search", params={"by": "prompts", "pos": ["the river", "b" * 300], "neg": ["war"]})
    assert page.status_code == 422
    assert "The positive prompt 2 cannot be read" in page.text
    assert "b" * 300 in page.text
    assert live.get("/search?by=prompts&neg=war").status_code == 422
    assert live.get("/search?by=prompts&pos_p=none").status_code == 404
