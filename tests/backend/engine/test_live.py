"""Prompts over HTTP, on a tiny random Llama, against the SAE itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from tests.support.pages import app_with_contexts
from tests.support.stores import linked_store

TEXT = "the river of <script>alert(1)</script> University\ncafé 😀"
FEATURE = "tiny/1-relu-64/3"


@pytest.fixture(scope="module")
def live(published_store: StorePaths) -> Iterator[TestClient]:
    app = app_with_contexts(Settings(store=published_store.root, max_prompt_tokens=100, max_new_tokens=24))
    with TestClient(app) as client:
        yield client


def sae_of(client: TestClient, name: str = "1-relu-64") -> SAE:
    return SAE.load(client.app.state.library.catalogue().saes["tiny", name].folder)


def read_by_hand(store: StorePaths, sae: SAE, text: str) -> tuple[list[int], np.ndarray]:
    """Tokens with one BOS, and dense activations [L, F] of all but it."""
    tokens = [0, *Tokenizer.load(store.models / "tiny").encode(text)]
    model = LanguageModel.load(store.models / "tiny", layer=1, dtype="float32")
    return tokens, sae.encode(model.residuals(torch.tensor([tokens]))[0, 1:]).numpy()


# ---- prompts


def test_activations_are_those_of_the_sae_strongest_first(live: TestClient, published_store: StorePaths) -> None:
    found = live.post("/api/v1/activations", json={"text": TEXT, "saes": ["tiny/1-relu-64"]}).json()
    tokens, acts_LF = read_by_hand(published_store, sae_of(live), TEXT)
    assert [token["token"] for token in found["tokens"]] == tokens
    assert [token["left_out"] for token in found["tokens"]] == [True, *[False] * len(acts_LF)]
    listed = found["saes"][0]
    assert listed["total"] == int((acts_LF.max(0) > 0).sum())
    assert listed["by_token"][0] == []
    for row_F, features in zip(acts_LF, listed["by_token"][1:], strict=True):
        expected = [int(f) for f in np.argsort(-row_F, kind="stable") if row_F[f] > 0][:12]
        assert [one["feature"]["index"] for one in features] == expected
        np.testing.assert_allclose([one["activation"] for one in features], row_F[expected], rtol=1e-4)
    strongest = np.argsort(-acts_LF.max(0), kind="stable")[: len(listed["overall"])]
    assert [one["feature"]["index"] for one in listed["overall"]] == strongest.tolist()
    first = listed["overall"][0]
    assert first["token"] == 1 + int(acts_LF[:, strongest[0]].argmax())
    assert first["share"] == pytest.approx(first["activation"] / first["feature"]["max"])


@pytest.mark.parametrize("text", [" ", "\n", "\t  \n"])
def test_blanks_and_line_breaks_are_text(live: TestClient, published_store: StorePaths, text: str) -> None:
    found = live.post("/api/v1/activations", json={"text": text})
    assert found.status_code == 200
    assert [token["token"] for token in found.json()["tokens"]] == read_by_hand(published_store, sae_of(live), text)[0]
    tried = live.post(f"/api/v1/features/{FEATURE}/activations", json={"text": text})
    assert tried.status_code == 200


def test_several_saes_are_read_at_once_and_frequent_features_hidden(live: TestClient) -> None:
    names = ["tiny/1-relu-64", "tiny/1-batchtopk-64"]
    found = live.post("/api/v1/activations", json={"text": TEXT, "saes": names, "hide_density": 0.0501}).json()["saes"]
    assert [one["sae"] for one in found] == names
    assert found[0]["hidden"] > 0
    assert all(one["feature"]["density"] <= 0.0501 for one in found[0]["overall"])


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"text": ""}, 422, "empty"),
        ({"text": "a" * 300}, 422, "100"),
        ({"text": "a" * 30_000}, 422, "20000"),
        ({"text": "a", "saes": ["tiny/none"]}, 404, "no SAE"),
        ({"text": "a", "chat": True}, 422, "chat"),
        ({}, 422, "text"),
    ],
)
def test_unfit_texts_are_refused(live: TestClient, body: dict[str, Any], status: int, words: str) -> None:
    answer = live.post("/api/v1/activations", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


# ---- the engine's limits


def test_a_full_queue_answers_503_with_what_to_do(live: TestClient) -> None:
    worker = live.app.state.engine.worker
    capacity, worker._capacity = worker._capacity, 0
    try:
        answer = live.post("/api/v1/activations", json={"text": "the"})
    finally:
        worker._capacity = capacity
    assert answer.status_code == 503
    assert "try again" in answer.json()["detail"]


def test_an_sae_beyond_the_memory_limit_is_refused(published_store: StorePaths) -> None:
    settings = Settings(store=published_store.root, live_sae_gb=2e-5)  # one of 64 features fits, one of 256 does not
    with TestClient(create_app(settings)) as client:
        for name, status in {"1-relu-64": 200, "1-batchtopk-64": 200, "1-relu-256": 503}.items():
            answer = client.post("/api/v1/activations", json={"text": "the", "saes": [f"tiny/{name}"]})
            assert answer.status_code == status
        assert "MONOSEMA_LIVE_SAE_GB" in answer.json()["detail"]
        assert len(client.app.state.engine.models.sae_sizes()) == 1


def test_without_the_model_pages_say_why_and_the_api_refuses(published_store: StorePaths, tmp_path: Path) -> None:
    store = linked_store(published_store, tmp_path / "store", but={published_store.models}).root
    for settings, words in (
        (Settings(store=store), "not on this machine"),
        (Settings(store=store, live=False), "LIVE=0"),
    ):
        with TestClient(create_app(settings)) as client:
            for path in ("/prompt?text=the", f"/steer?f={FEATURE}", "/steer"):
                page = client.get(path)
                assert page.status_code == 200
                assert words in page.text
            answer = client.post("/api/v1/activations", json={"text": "the"})
            assert answer.status_code == 503
            assert words in answer.json()["detail"]
            body = {"features": [{"feature": FEATURE, "strength": 1}], "prompt": "the"}
            assert client.post("/api/v1/steer", json=body).status_code == 503


# ---- a text on one feature


def test_a_text_tried_on_a_feature_is_as_long_as_any_prompt(live: TestClient) -> None:
    answer = live.post(f"/api/v1/features/{FEATURE}/activations", json={"text": "a" * 20_001})
    assert answer.status_code == 422
    assert "20000 are the most" in answer.json()["detail"]


def test_a_text_tried_on_a_feature_has_the_activations_of_the_sae(
    live: TestClient, published_store: StorePaths
) -> None:
    feature = live.get(f"/api/v1/features/{FEATURE}").json()
    found = live.post(f"/api/v1/features/{FEATURE}/activations", json={"text": TEXT}).json()
    tokens, acts_LF = read_by_hand(published_store, sae_of(live), TEXT)
    assert [token["token"] for token in found["tokens"]] == tokens
    np.testing.assert_allclose([t["value"] for t in found["tokens"]], [0, *acts_LF[:, 3]], rtol=1e-4)
    assert [t["level"] >= 0 for t in found["tokens"]] == [False, *(acts_LF[:, 3] > 0).tolist()]
    assert found["tokens"][0]["left_out"]
    assert found["share"] == pytest.approx(acts_LF[:, 3].max() / feature["max"], rel=1e-4)


def test_half_a_surrogate_pair_is_read_as_the_sign_for_what_is_no_text(live: TestClient) -> None:
    path, kind = f"/api/v1/features/{FEATURE}/activations", {"content-type": "application/json"}
    half = live.post(path, content=b'{"text": "river \\ud83d of"}', headers=kind)
    assert half.status_code == 200
    assert half.json() == live.post(path, json={"text": "river \ufffd of"}).json()


@pytest.mark.parametrize(("text", "status"), [("", 422), ("a" * 2000, 422)])
def test_a_text_that_cannot_be_tried_is_refused(live: TestClient, text: str, status: int) -> None:
    answer = live.post(f"/api/v1/features/{FEATURE}/activations", json={"text": text})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")
