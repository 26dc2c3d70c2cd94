"""Search by prompts against a brute-force check on raw activations."""

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from data.published.tables import PublishedRun
from tests.support.prompt_search import LOOSE, NEGATIVE, POSITIVE, Naive, found, search


@pytest.mark.parametrize("num_positive", [1, 2, 3])
@pytest.mark.parametrize("num_negative", [0, 1, 2])
@pytest.mark.parametrize(("at_least", "at_most"), [(0.0, 1.0), (0.05, 0.2), (0.3, 0.0)])
def test_what_is_found_is_what_a_check_of_all_features_finds(
    live: TestClient, naive: Naive, num_positive: int, num_negative: int, at_least: float, at_most: float
) -> None:
    positive, negative = POSITIVE[:num_positive], NEGATIVE[:num_negative]
    answer = search(live, positive, negative, at_least=at_least, at_most=at_most)
    assert found(answer) == naive.find(positive, negative, at_least, at_most)
    assert answer["total"] == len(answer["features"])


def test_shares_and_scores_are_those_of_the_definition(live: TestClient, naive: Naive) -> None:
    positive_PF, negative_NF = naive.shares(POSITIVE), naive.shares(NEGATIVE)
    score_F = np.minimum(positive_PF, 1).mean(0) * -np.log(
        np.maximum(naive.density_F, 1 / naive.saes[0].run.num_tokens)
    )
    for order, expected_F in (("rare", score_F), ("weakest", positive_PF.min(0))):
        listed = search(live, POSITIVE, NEGATIVE, order=order, **LOOSE)["features"]
        assert len(listed) > 5
        for one in listed:
            f = naive.names.index((one["feature"]["sae"], one["feature"]["index"]))
            np.testing.assert_allclose(one["positive"], positive_PF[:, f], rtol=1e-4)
            np.testing.assert_allclose(one["negative"], negative_NF[:, f], rtol=1e-4)
            assert one["score"] == pytest.approx(expected_F[f], rel=1e-4)
        scores = [one["score"] for one in listed]
        assert scores == sorted(scores, reverse=True)


def test_more_prompts_and_tighter_thresholds_never_add(live: TestClient) -> None:
    base = found(search(live, POSITIVE[:2], [], at_least=0.05))
    assert base
    for negative in (NEGATIVE[:1], NEGATIVE, [*NEGATIVE, POSITIVE[0]]):
        assert found(search(live, POSITIVE[:2], negative, at_least=0.05)) <= base
    assert found(search(live, POSITIVE, [], at_least=0.05)) <= base
    last = None
    for at_least in (0.0, 0.1, 0.3, 0.6, 1.0):
        now = found(search(live, POSITIVE[:2], NEGATIVE, at_least=at_least, at_most=0.1))
        assert last is None or now <= last
        last = now
    last = set()
    for at_most in (0.0, 0.05, 0.2, 1.0):
        now = found(search(live, POSITIVE[:2], NEGATIVE, at_least=0.1, at_most=at_most))
        assert last <= now
        last = now


def test_a_text_against_itself_leaves_nothing_and_says_what_each_prompt_removed(live: TestClient, naive: Naive) -> None:
    answer = search(live, POSITIVE[:2], [POSITIVE[0]], at_least=0.1, at_most=0.05)
    assert answer["total"] == 0
    first, second, negative = answer["steps"]
    at = {"at_least": 0.1, "at_most": 0.05}
    assert first == {"positive": True, "place": 0, "left": len(naive.find(POSITIVE[:1], [], **at)), "removed": 0,
                     "without": len(naive.find(POSITIVE[1:2], POSITIVE[:1], **at))}  # fmt: skip
    assert second["left"] == len(naive.find(POSITIVE[:2], [], **at))
    assert second["removed"] == first["left"] - second["left"]
    assert (negative["left"], negative["removed"]) == (0, second["left"])
    assert negative["without"] == second["left"]
    assert answer["relaxed"]
    for relaxed in answer["relaxed"]:
        criteria = relaxed["criteria"]
        again = search(live, POSITIVE[:2], [POSITIVE[0]], at_least=criteria["at_least"], at_most=criteria["at_most"])
        assert again["total"] == relaxed["total"] > 0


def test_hidden_features_are_counted(live: TestClient, naive: Naive) -> None:
    answer = search(live, POSITIVE[:1], [], hide_density=0.0501, **LOOSE)
    every = naive.find(POSITIVE[:1], [], 0, 1)
    shown = {name for name in every if naive.density_F[naive.names.index(name)] <= 0.0501}
    assert found(answer) == shown
    assert answer["hidden"] == len(every) - len(shown) > 0
    nothing = search(live, POSITIVE[:1], [], hide_density=0.0, **LOOSE)
    assert nothing["relaxed"] == [{"criteria": {"at_least": 0.0, "at_most": 1.0, "hide": 1.0}, "total": len(every)}]


def test_only_the_saes_asked_for_are_searched_and_the_tables_are_read_once(
    live: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, reads = PublishedRun.take, []
    monkeypatch.setattr(PublishedRun, "take", lambda *args: reads.append(args[1]) or take(*args))
    answer = search(live, POSITIVE, NEGATIVE, saes=["tiny/1-relu-256"], **LOOSE)
    assert {one["feature"]["sae"] for one in answer["features"]} == {"1-relu-256"}
    assert reads == ["features"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"positive": []}, 422, "positive"),
        ({"positive": [""]}, 422, "positive prompt 1 cannot be read. The prompt is empty"),
        ({"positive": ["the", "b" * 300]}, 422, "positive prompt 2 cannot be read"),
        ({"positive": ["the"], "negative": ["b" * 300]}, 422, "negative prompt 1"),
        ({"positive": ["a" * 20_001]}, 422, "20000"),
        ({"positive": ["the"] * 17}, 422, "16"),
        ({"positive": ["the"], "saes": ["tiny/none"]}, 404, "no SAE"),
        ({"positive": ["the"], "at_least": 2}, 422, "at_least"),
    ],
)
def test_unfit_searches_are_refused(live: TestClient, body: dict[str, Any], status: int, words: str) -> None:
    answer = live.post("/api/v1/search", json=body)
    assert answer.status_code == status
    assert words in answer.json()["detail"]
