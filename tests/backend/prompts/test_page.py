"""What the prompt page shows, and where its links lead."""

import re

import numpy as np
import pytest
from fastapi.testclient import TestClient

from data.layout import StorePaths
from pipeline.models.tokenizer import Tokenizer
from tests.support.fake_run import MARKED
from tests.support.prompts import TEXT

FEATURE = "tiny/1-relu-64/3"


def test_left_out_positions_are_shown_and_not_counted(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": TEXT, "token": 0})
    result = page.context["result"]
    assert result.tokens[0].left_out
    assert result.tokens[0].about.endswith("left out")
    assert result.num_counted == len(result.tokens) - 1
    assert "This token is left out" in page.text
    assert all(one.token != 0 for one in result.overall)


def test_the_tokens_shown_are_the_models_own_with_their_ids(live: TestClient, chat_store: StorePaths) -> None:
    page = live.get("/prompt", params={"text": TEXT})
    ids = [0, *Tokenizer.load(chat_store.models / "tiny").encode(TEXT)]
    assert [int(re.search(r"id (\d+)", token.about)[1]) for token in page.context["result"].tokens] == ids


def test_the_page_says_what_comes_last_and_offers_the_other_order(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": TEXT})
    result = page.context["result"]
    assert result.num_common > 0
    assert "come last" in page.text
    listed = [bool(one.common) for one in result.overall]
    assert listed == sorted(listed)
    mixed = live.get(result.switch)
    assert mixed.context["state"].mixed
    scores = [one.score for one in mixed.context["result"].overall]
    assert scores == sorted(scores, reverse=True)
    assert not live.get(mixed.context["result"].switch).context["state"].mixed


def test_without_a_choice_the_sae_that_explains_most_variance_reads(live: TestClient) -> None:
    saes = live.app.state.library.catalogue().runs[0].saes
    best = max(saes, key=lambda sae: sae.record.metrics["explained_variance"])
    for query in ({}, {"text": "the"}):
        page = live.get("/prompt", params=query)
        assert page.context["state"].sae == [best.href[1:]]
        assert [choice.name for choice in page.context["saes"] if choice.best] == [best.name]
        assert "reads best" in page.text
    for sae in saes:
        assert live.get("/prompt", params={"sae": sae.href[1:]}).context["state"].sae == [sae.href[1:]]
    feature = f"{saes[-1].href[1:]}/3"
    assert live.get("/prompt", params={"f": feature}).context["state"].sae == [saes[-1].href[1:]]
    answer = live.post("/api/v1/activations", json={"text": "the"}).json()
    assert [one["sae"] for one in answer["saes"]] == [best.href[1:]]


@pytest.mark.parametrize(("chat", "token"), [(False, None), (True, None), (False, 999)])
def test_the_last_token_that_counts_is_chosen_from_the_start(live: TestClient, chat: bool, token: int | None) -> None:
    query = {"text": "the river", "chat": int(chat)} | ({} if token is None else {"token": token})
    result = live.get("/prompt", params=query).context["result"]
    counted = [one for one in result.tokens if not one.left_out]
    assert result.token == counted[-1]
    assert [one.number for one in result.tokens if one.current] == [counted[-1].number]
    assert (counted[-1] is result.tokens[-1]) == (not chat)


@pytest.mark.parametrize(
    ("text", "shown"), [("the river?", "river"), ("the river.\n", "river"), ("in 7 ...", "7"), ("?!", "!"), ("é.", "é")]
)
@pytest.mark.parametrize("more", [{}, {"chat": 1}, {"chat": 1, "template": 1}])
def test_the_last_word_or_number_is_chosen_from_the_start(
    live: TestClient, text: str, shown: str, more: dict[str, int]
) -> None:
    result = live.get("/prompt", params={"text": text, **more}).context["result"]
    assert shown in result.token.text
    assert not result.token.left_out
    assert live.get(result.tokens[-1].href).context["result"].token.number == len(result.tokens) - 1


def test_attribution_leads_to_its_answer(live: TestClient) -> None:
    closed = live.get("/prompt", params={"text": TEXT}).context["attribution"]
    opened = live.get("/prompt", params={"text": TEXT, "target": ""})
    assert closed.open_href.endswith("#attribution")
    assert all(one.href.endswith("#answer") for one in opened.context["attribution"].likely)
    answered = live.get("/prompt", params={"text": TEXT, "target": "#70"})
    assert all(link.href.endswith("#answer") for link in answered.context["attribution"].sorts)
    assert 'action="/prompt#answer"' in answered.text
    assert 'id="answer" tabindex="-1"' in answered.text


def test_the_prompt_page_shows_hostile_text_literally_and_every_field_of_its_context(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": TEXT, "token": 5, "mixed": 1})
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    result = page.context["result"]
    assert result.token.number == 5
    activations = [one.activation for one in result.token_features]
    assert activations == sorted(activations, reverse=True)
    assert {one.token for one in result.token_features} == {5}


def test_the_prompt_page_colours_tokens_by_a_chosen_feature(live: TestClient, dense: dict[str, np.ndarray]) -> None:
    page = live.get("/prompt", params={"text": TEXT, "f": f"tiny/1-relu-64/{MARKED}", "sae": "tiny/1-relu-64"})
    values = [float(token.caption or 0) for token in page.context["result"].tokens]
    np.testing.assert_allclose(values, dense["1-relu-64"][:, MARKED], rtol=5e-3)
    assert "<svg onload" not in page.text


@pytest.mark.parametrize("query", [{}, {"f": FEATURE}, {"text": ""}])
def test_without_a_text_the_prompt_page_offers_some(live: TestClient, query: dict[str, str]) -> None:
    page = live.get("/prompt", params=query)
    assert page.status_code == 200
    assert page.context["result"] is None
    assert page.context["examples"][0].text in page.text


@pytest.mark.parametrize("text", ["  ", "\n"])
def test_a_prompt_of_blanks_is_read(live: TestClient, text: str) -> None:
    page = live.get("/prompt", params={"text": text})
    assert page.status_code == 200
    assert page.context["problem"] is None
    assert len(page.context["result"].tokens) > 1
    assert live.post("/prompt", data={"text": text}).context["state"].text == text


@pytest.mark.parametrize("rank", ["max", "mean", "last", "rare"])
def test_links_of_the_page_keep_what_was_chosen(live: TestClient, rank: str) -> None:
    asked = {"text": TEXT, "sae": ["tiny/1-relu-64", "tiny/1-relu-256"], "rank": rank, "hide": 0.05, "token": 2}
    result = live.get("/prompt", params=asked).context["result"]
    again = live.get(result.tokens[4].href).context["state"]
    assert (again.text, again.sae, again.rank, again.hide, again.token) == (TEXT, asked["sae"], rank, 0.05, 4)
    assert live.get(result.tokens[2].href).context["result"].token.number == 2
