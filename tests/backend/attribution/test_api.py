"""Attribution over HTTP, on a tiny random Llama, against plain forward passes."""

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from pipeline.models.language_model import LanguageModel
from pipeline.models.tokenizer import Tokenizer
from tests.support.attribution import API, TEXT, ablated_logits, sae_of


def test_effects_are_those_of_ablation_by_hand(live: TestClient, plain: LanguageModel, tokenizer: Tokenizer) -> None:
    body = {"text": TEXT, "target": " the", "minus": "#70", "k": 20, "saes": ["tiny/1-relu-64"]}
    found = live.post(API, json=body).json()
    sae, tokens = sae_of(live), [0, *tokenizer.encode(TEXT)]
    (target,) = tokenizer.encode(" the")
    assert (found["target"]["token"], found["minus"]["token"]) == (target, 70)
    assert [one["token"] for one in found["tokens"]] == tokens
    assert found["position"] == len(tokens) - 1

    def value(feature: int | None) -> float:
        logits = ablated_logits(plain, sae, feature, tokens)[-1]
        return float(logits[target] - logits[70])

    assert found["value"] == pytest.approx(value(None), abs=1e-4)
    listed = found["saes"][0]
    assert listed["ablated"] == 20
    effects = {one["feature"]["index"]: one["effect"] for one in listed["features"] if one["effect"] is not None}
    assert len(effects) == 20
    for index, effect in effects.items():
        assert effect == pytest.approx(value(None) - value(index), abs=2e-4)
    assert max(map(abs, effects.values())) > 1e-3


@pytest.mark.parametrize("chat", [False, True])
def test_what_a_prompt_does_not_count_is_not_attributed_to(chat_store: StorePaths, chat: bool) -> None:
    asked = {"text": "the river", "chat": chat}
    with TestClient(create_app(Settings(store=chat_store.root))) as client:
        reading = client.post("/api/v1/activations", json={**asked, "limit": 1000, "hide_density": 1}).json()
        found = client.post(API, json={**asked, "target": "#70", "k": 300}).json()
    assert found["tokens"] == reading["tokens"]
    left_out = [token["left_out"] for token in found["tokens"]]
    assert left_out.count(True) > 1 if chat else left_out.count(True) == 1
    features = found["saes"][0]["features"]
    assert features
    assert not any(left_out[one["token"]] for one in features)
    counted = {one["feature"]["index"] for one in reading["saes"][0]["overall"]}
    assert {one["feature"]["index"] for one in features} == counted


def test_ranks_and_correlation_are_those_of_the_columns(live: TestClient) -> None:
    listed = live.post(API, json={"text": TEXT, "target": "#70", "k": 300}).json()["saes"][0]
    features = listed["features"]
    assert listed["ablated"] == listed["total"] == len(features)
    for column in ("activation", "attribution", "effect"):
        sizes = [abs(one[column]) for one in sorted(features, key=lambda one: one[f"{column}_rank"])]
        assert sizes == sorted(sizes, reverse=True)
        assert sorted(one[f"{column}_rank"] for one in features) == list(range(1, len(features) + 1))
    assert [one["attribution_rank"] for one in features] == list(range(1, len(features) + 1))
    pairs = np.array([(one["attribution"], one["effect"]) for one in features])
    assert listed["correlation"] == pytest.approx(np.corrcoef(pairs.T)[0, 1], abs=1e-6)


def test_attribution_chooses_what_is_ablated_and_the_most_active_are_listed_too(live: TestClient) -> None:
    everything = live.post(API, json={"text": TEXT, "target": "#70", "k": 300}).json()["saes"][0]["features"]
    few = live.post(API, json={"text": TEXT, "target": "#70", "k": 5}).json()["saes"][0]
    ablated = [one for one in few["features"] if one["effect"] is not None]
    assert [one["feature"]["index"] for one in ablated] == [one["feature"]["index"] for one in everything[:5]]
    active = {one["feature"]["index"] for one in everything if one["activation_rank"] <= 5}
    assert active <= {one["feature"]["index"] for one in few["features"]}
    assert all(one["effect_rank"] is None for one in few["features"] if one["effect"] is None)
    none = live.post(API, json={"text": TEXT, "target": "#70", "k": 0}).json()["saes"][0]
    assert (none["ablated"], none["correlation"], none["features"]) == (0, None, [])


def test_every_sae_asked_for_answers(live: TestClient) -> None:
    names = ["tiny/1-batchtopk-64", "tiny/1-relu-256"]
    found = live.post(API, json={"text": TEXT, "target": "#70", "saes": names, "k": 4, "position": 3}).json()
    assert [one["sae"] for one in found["saes"]] == names
    assert all(one["token"] <= 3 for listed in found["saes"] for one in listed["features"])


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"target": ""}, 422, "no single token"),
        ({"target": "no such word at all"}, 422, "no single token"),
        ({"target": "#99999999"}, 422, "There is no token"),
        ({"target": "#70", "minus": "#70"}, 422, "minus itself"),
        ({"position": 4000}, 422, "there is no token 4000"),
        ({"position": -1}, 422, "position"),
        ({"text": ""}, 422, "empty"),
        ({"saes": ["tiny/none"]}, 404, "no SAE"),
        ({"k": 100_000}, 422, "k"),
    ],
)
def test_unfit_questions_are_refused(live: TestClient, change: dict[str, Any], status: int, words: str) -> None:
    answer = live.post(API, json={"text": TEXT, "target": "#70", **change})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_without_a_model_it_is_off(client: TestClient) -> None:
    assert client.post(API, json={"text": TEXT, "target": "#70"}).status_code == 503
