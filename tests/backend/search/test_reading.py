"""What lights up when the model reads a query, against the SAEs themselves."""

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from backend.engine.messages import Active, PromptReading
from backend.search.reading import LEAST_SHARE, LIT_SHOWN, OFTEN, SENTENCES, on_query
from tests.support.prompt_search import Naive


def reading_of(pieces: list[str], tokens: list[int]) -> PromptReading:
    found = Active(np.array(tokens), np.arange(len(tokens)), np.ones(len(tokens), np.float32))
    return PromptReading(
        [0] * len(pieces), [p.encode() for p in pieces], [False] * len(pieces), {"sae": found}, [""] * len(pieces)
    )


@pytest.mark.parametrize(
    ("pieces", "sentence", "own"),
    [
        (["<s>", "The", " hurri", "cane"], "The {}", [2, 3]),
        (["<s>", " The", " hurri", "cane"], "The {}", [2, 3]),
        (["<s>", "hurri", "cane"], "{}", [1, 2]),
        (["<s>", "A hurri", "cane", " and", " more"], "A {} and more", [1, 2]),
    ],
)
def test_only_the_tokens_of_the_query_count(pieces: list[str], sentence: str, own: list[int]) -> None:
    found = on_query(reading_of(pieces, list(range(len(pieces)))), sentence, "hurricane").active["sae"]
    assert found.token_K.tolist() == found.feature_K.tolist() == own


def test_features_are_ranked_by_their_share_on_the_query_and_dense_ones_come_last(
    live: TestClient, naive: Naive
) -> None:
    query = "river of music"
    answer = live.get("/api/v1/search/reading", params={"q": query})
    assert answer.status_code == 200, answer.text
    shares_PF = np.array([np.minimum(_on_last(naive, sentence.format(query), query), 1) for sentence in SENTENCES])
    share_F = (shares_PF.sum(0) - shares_PF.max(0)) / (len(SENTENCES) - 1)
    density_F = np.maximum(naive.density_F, 1 / naive.saes[0].run.num_tokens)
    score_F = share_F * -np.log(density_F) * np.minimum(OFTEN / density_F, 1)
    listed = answer.json()
    assert 0 < len(listed) <= LIT_SHOWN
    assert [one["score"] for one in listed] == sorted((one["score"] for one in listed), reverse=True)
    for one in listed:
        f = naive.names.index((one["feature"]["sae"], one["feature"]["index"]))
        assert one["share"] == pytest.approx(share_F[f], rel=1e-3)
        assert one["share"] >= LEAST_SHARE
        assert one["score"] == pytest.approx(score_F[f], rel=1e-3)


def _on_last(naive: Naive, text: str, query: str) -> np.ndarray:
    """Shares on the tokens of a text that are the query's, which ends it."""
    tokens, before = naive.tokenizer.encode(text), naive.tokenizer.encode(text.removesuffix(query).rstrip())
    x_LD = naive.model.residuals(torch.tensor([[0, *tokens]]))[0, 1 + len(before) :]
    peak_F = np.concatenate([sae.encode(x_LD).numpy().max(0) for sae in naive.weights])
    return np.where(naive.max_F > 0, peak_F / np.where(naive.max_F > 0, naive.max_F, 1), peak_F > 0)


def test_words_come_at_once_and_the_reading_by_a_link_or_with_the_page(live: TestClient) -> None:
    page = live.get("/search?q=river")
    assert page.context["hits"]
    link = page.context["reading"].href
    assert link == "?q=river&read=1#reading"
    assert 'id="read-it"' in page.text
    read = live.get("/search" + link)
    assert read.context["reading"].href == ""
    assert [hit.hit for hit in read.context["hits"]] == [hit.hit for hit in page.context["hits"]]
    assert 'id="read-it"' not in read.text
    assert live.get("/search?q=river+of+music&read=1").context["reading"].lit


def test_without_the_model_there_is_no_reading(pages: TestClient) -> None:
    assert pages.get("/search?q=river").context["reading"] is None
    assert pages.get("/search?q=river&read=1").context["reading"] is None
    assert pages.get("/api/v1/search/reading?q=river").status_code == 503
    assert pages.get("/api/v1/search/reading?q=").status_code == 422


def test_what_the_model_cannot_read_is_said_beside_the_words(live: TestClient) -> None:
    live.app.state.engine.reader._settings = live.app.state.settings.model_copy(update={"max_prompt_tokens": 2})
    try:
        answer = live.get("/search?q=engine&read=1")
    finally:
        live.app.state.engine.reader._settings = live.app.state.settings
    assert answer.status_code == 422
    assert "shorten it" in answer.context["reading"].problem.text
    assert answer.context["hits"]
