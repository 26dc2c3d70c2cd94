"""The ranking of the features that a prompt activates, against dense arrays worked out naively."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend.prompts.ranking import Activity, gather, rank
from data.published.tables import PublishedRun
from tests.support.prompts import NAMES, TEXT


def naive_scores(client: TestClient, name: str, acts_LF: np.ndarray, by: str) -> np.ndarray:
    """Score [F] of each feature, from the definition."""
    sae = client.app.state.library.catalogue().saes["tiny", name]
    rows = sae.run.tables.take("features", [sae.row(f) for f in range(sae.num_features)], ["max", "density"])
    max_F, density_F = (rows[column].to_numpy().astype(np.float64) for column in ("max", "density"))
    if by == "mean":
        return acts_LF[1:].mean(0)
    if by == "last":
        return acts_LF[-1]
    if by == "rare":
        share_LF = np.where(max_F > 0, acts_LF / np.where(max_F > 0, max_F, 1), acts_LF > 0)
        return (share_LF * -np.log(np.maximum(density_F, 1 / sae.run.num_tokens))).max(0)
    return acts_LF.max(0)


@pytest.mark.parametrize("by", ["max", "mean", "last", "rare"])
def test_every_ranking_is_the_naive_one(live: TestClient, dense: dict[str, np.ndarray], by: str) -> None:
    body = {"text": TEXT, "saes": [f"tiny/{name}" for name in NAMES], "rank": by, "limit": 1000}
    for found in live.post("/api/v1/activations", json=body).json()["saes"]:
        name = found["sae"].removeprefix("tiny/")
        score_F = naive_scores(live, name, dense[name], by)
        listed = {one["feature"]["index"]: one["score"] for one in found["overall"]}
        assert set(listed) == set(np.flatnonzero(score_F > 0).tolist())
        np.testing.assert_allclose(list(listed.values()), score_F[list(listed)], rtol=1e-4)
        assert list(listed.values()) == sorted(listed.values(), reverse=True)
        for one in found["overall"]:
            row = dense[name][one["token"], one["feature"]["index"]]
            assert one["activation"] == pytest.approx(row, rel=1e-4)


def test_the_page_ranks_several_saes_together(live: TestClient, dense: dict[str, np.ndarray]) -> None:
    page = live.get("/prompt", params={"text": TEXT, "sae": [f"tiny/{name}" for name in NAMES], "mixed": 1, "token": 3})
    result = page.context["result"]
    best = sorted(((acts.max(0)[f], name, f) for name, acts in dense.items() for f in range(acts.shape[1])))[::-1]
    listed = [(one.feature.sae, one.feature.index) for one in result.overall]
    assert listed == [(name, f) for _, name, f in best[: len(listed)]]
    assert result.token_total == sum(int((acts[3] > 0).sum()) for acts in dense.values())
    assert {one.feature.sae for one in result.token_features} == set(NAMES)
    assert all(series in page.text for series in ("series s0", "series s1", "series s2"))


def test_what_is_on_too_often_is_hidden_from_tokens_and_overall(live: TestClient) -> None:
    body = {"text": TEXT, "saes": ["tiny/1-relu-64"], "limit": 1000, "per_token": 100}
    every = live.post("/api/v1/activations", json=body).json()["saes"][0]
    cut = sorted(one["feature"]["density"] for one in every["overall"])[len(every["overall"]) // 2]
    kept = live.post("/api/v1/activations", json={**body, "hide_density": cut}).json()["saes"][0]
    assert kept["overall"] == [one for one in every["overall"] if one["feature"]["density"] <= cut]
    assert kept["by_token"] == [[one for one in t if one["feature"]["density"] <= cut] for t in every["by_token"]]
    assert (kept["total"], kept["hidden"]) == (len(kept["overall"]), every["total"] - kept["total"])


def test_one_read_of_the_tables_for_any_prompt_and_number_of_saes(
    live: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, reads = PublishedRun.take, []
    monkeypatch.setattr(PublishedRun, "take", lambda *args: reads.append(args[1:3]) or take(*args))
    for text, saes in (("the", NAMES[:1]), (TEXT, NAMES)):
        reads.clear()
        assert live.get("/prompt", params={"text": text, "sae": [f"tiny/{n}" for n in saes]}).status_code == 200
        assert len(reads) == 1


def test_a_prompt_of_left_out_tokens_alone_has_no_features(live: TestClient) -> None:
    sae = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    reading = live.portal.call(live.app.state.engine.activations, [sae], _prompt("the"))
    empty = replace(
        reading,
        left_out=[True] * len(reading.tokens),
        active={sae.name: replace(reading.active[sae.name], **{c: np.zeros(0, t) for c, t in COLUMNS.items()})},
    )
    for by in ("max", "mean", "last", "rare"):
        ranking = rank(gather([sae], empty), by, 1.0, common_last=True)
        assert ranking.overall(10) == []
        assert ranking.by_token(5) == [[]] * len(empty.tokens)


COLUMNS = {"token_K": np.int64, "feature_K": np.int64, "value_K": np.float32}


def _prompt(text: str) -> Any:
    from backend.engine.messages import Prompt

    return Prompt(text)


def test_a_feature_never_seen_in_the_corpus_counts_as_if_seen_on_one_token(live: TestClient) -> None:
    sae = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    reading = live.portal.call(live.app.state.engine.activations, [sae], _prompt(TEXT))
    activity = gather([sae], reading)
    names = activity.records_U.schema.names
    unseen = activity.records_U.set_column(names.index("max"), "max", [np.zeros(len(activity.row_U), np.float32)])
    unseen = unseen.set_column(names.index("density"), "density", [np.zeros(len(activity.row_U), np.float32)])
    ranking = rank(Activity(**{**_shallow(activity), "records_U": unseen}), "rare", 1.0, common_last=False)
    np.testing.assert_allclose([one.score for one in ranking.overall(5)], np.log(sae.run.num_tokens))
    assert {one.share for one in ranking.overall(5)} == {1.0}


def _shallow(activity: Activity) -> dict[str, Any]:
    return {field.name: getattr(activity, field.name) for field in fields(activity)}


@pytest.fixture
def common(live: TestClient) -> tuple[Activity, np.ndarray]:
    """What TEXT activates: a third of the features on a tenth of all tokens, a third at the start of texts."""
    sae = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    activity = gather([sae], live.portal.call(live.app.state.engine.activations, [sae], _prompt(TEXT)))
    names, places = activity.records_U.schema.names, np.arange(len(activity.row_U)) % 3
    for name, high in (("density", places == 0), ("at_start", places == 1)):
        column = np.where(high, 0.1 if name == "density" else 0.9, 0.01).astype(np.float32)
        records = activity.records_U.set_column(names.index(name), name, [column])
        activity = Activity(**{**_shallow(activity), "records_U": records})
    return activity, places


@pytest.mark.parametrize("by", ["max", "mean", "last", "rare"])
def test_what_says_little_comes_last_in_its_own_order(common: tuple[Activity, np.ndarray], by: Any) -> None:
    activity, places = common
    plain, pushed = (rank(activity, by, 1.0, common_last=last) for last in (False, True))
    for one, other in ((plain.overall(1000), pushed.overall(1000)), (plain.by_token(99)[5], pushed.by_token(99)[5])):
        assert [a for a in other if not a.common] == [a for a in one if not a.common]
        assert [a for a in other if a.common] == [a for a in one if a.common]
        assert other == sorted(other, key=lambda a: bool(a.common))
    reasons = {int(row): ("frequent", "start", "")[place] for row, place in zip(activity.row_U, places, strict=True)}
    assert all(a.common == reasons[a.feature.index] for a in pushed.overall(1000))
    assert pushed.num_common == int((places < 2).sum())
