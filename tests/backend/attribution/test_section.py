"""Attribution on the prompt page."""

from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from pipeline.models.language_model import LanguageModel
from pipeline.models.tokenizer import Tokenizer
from tests.support.attribution import API, TEXT


def test_the_prompt_page_offers_likely_tokens_and_explains_one(
    live: TestClient, plain: LanguageModel, tokenizer: Tokenizer
) -> None:
    closed = live.get("/prompt", params={"text": TEXT}).context["attribution"]
    assert not closed.open
    offered = live.get(closed.open_href.partition("#")[0]).context["attribution"]
    expected = plain.logits(torch.tensor([[0, *tokenizer.encode(TEXT)]]))[0, -1].softmax(0).topk(8)
    assert [one.probability for one in offered.likely] == pytest.approx(expected.values.tolist(), rel=1e-3)
    page = live.get(offered.likely[2].href.partition("#")[0])
    section = page.context["attribution"]
    assert page.status_code == 200
    assert [one.current for one in section.likely] == [place == 2 for place in range(8)]
    (table,) = section.tables
    body = {"text": TEXT, "target": f"#{int(expected.indices[2])}"}
    answer = live.post(API, json=body).json()
    assert section.value == pytest.approx(answer["value"])
    listed = answer["saes"][0]["features"][: len(table.rows)]
    assert [row.feature.index for row in table.rows] == [one["feature"]["index"] for one in listed]
    assert "<script>alert" not in page.text


@pytest.mark.parametrize("by", ["effect", "activation"])
def test_the_table_sorts_by_each_column(live: TestClient, by: str) -> None:
    asked = {"text": TEXT, "target": "#70", "k": 20, "by": by, "sae": ["tiny/1-relu-64", "tiny/1-relu-256"]}
    section = live.get("/prompt", params=asked).context["attribution"]
    assert [table.sae for table in section.tables] == ["1-relu-64", "1-relu-256"]
    for table in section.tables:
        ranks = [getattr(row, f"{by}_rank") or 10**6 for row in table.rows]
        assert ranks == sorted(ranks)
        assert ranks[0] == 1
    assert [link.current for link in section.sorts] == [by == name for name in ("attribution", "effect", "activation")]
    assert ("target", "#70") not in section.hidden
    assert ("text", TEXT) in section.hidden


def test_all_that_was_worked_out_is_listed_when_asked(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": TEXT, "target": "#70", "k": 50, "by": "effect", "sae": "tiny/1-relu-64"})
    (table,) = page.context["attribution"].tables
    assert len(table.rows) == 25 < table.listed
    assert f"The first 25 of {table.listed} are shown" in page.text
    href = page.context["attribution"].all_href.partition("#")[0]
    whole = live.get(href)
    (every,) = whole.context["attribution"].tables
    assert every.rows[:25] == table.rows
    assert len(every.rows) == every.listed == table.listed
    assert "Show all" not in whole.text
    assert f"1-relu-64 / {table.rows[0].feature.index}<" in page.text


@pytest.mark.parametrize(
    ("change", "words"),
    [({"target": "no such word"}, "no single token"), ({"target": "#70", "position": 900}, "there is no token 900")],
)
def test_what_is_wrong_with_a_target_is_said_beside_the_reading(
    live: TestClient, change: dict[str, Any], words: str
) -> None:
    page = live.get("/prompt", params={"text": TEXT, **change})
    assert page.status_code == 422
    assert words in page.context["attribution"].problem
    assert page.context["result"] is not None
    assert page.text.count('role="alert"') == 1


def test_an_empty_choice_of_the_form_is_the_last_token(live: TestClient) -> None:
    asked = {"text": TEXT, "target": "#70", "minus": "", "position": "", "k": "20"}
    section = live.get("/prompt", params=asked).context["attribution"]
    assert section.after == live.get("/prompt", params={"text": TEXT}).context["result"].tokens[-1].text
    assert [link.text for link in section.positions if link.current] == ["the last"]
    early = live.get("/prompt", params={**asked, "position": "2"}).context["attribution"]
    assert early.after == early.positions[3].text.partition(" ")[2]
    assert early.value != section.value
