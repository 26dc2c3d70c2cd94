"""Tiny models that are no Llamas, each read at another hook, from text to pages and steering."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, GPTNeoXConfig, Qwen3Config

from backend.settings import Settings
from data.artifacts.comparison import read_comparison
from data.layout import RunPaths, StorePaths
from data.manifests import load_manifest
from pipeline.doctor import strengths
from pipeline.doctor.doctor import run_doctor
from pipeline.recipe import ReadRecipe, make_recipe
from pipeline.runs import run_checked
from tests.support.fake_run import THINGS
from tests.support.models import byte_tokenizer
from tests.support.pages import app_with_contexts
from tests.support.text_folder import make_word_folder

SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
         "max_position_embeddings": 2048, "initializer_range": 0.3}  # fmt: skip
ENDS = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 64}
MODELS: dict[str, tuple[str, str, Any]] = {
    "gpt2": ("attn", "1-attn", GPT2Config(**SIZES, **ENDS)),
    "pythia": ("mlp", "1-mlp", GPTNeoXConfig(**SIZES, **ENDS, intermediate_size=64)),
    "gemma": ("resid_mid", "1-mid", Gemma2Config(**SIZES, **ENDS, **GROUPED, sliding_window=16)),
    "qwen": ("resid_post", "1", Qwen3Config(**SIZES, **ENDS, **GROUPED)),
}
"""The hook that is read, its part of addresses, and the model."""


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def paths(name: str, tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A whole run."""
    folder = tmp_path_factory.mktemp(name)
    model, texts, store = folder / "model", folder / "texts", StorePaths(folder / "store")
    hook, _, config = MODELS[name]
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(model)
    byte_tokenizer().save_pretrained(model)
    make_word_folder(texts, 30, 40)
    recipe = make_recipe(
        {
            "name": name,
            "corpus": {"source": "text", "path": str(texts), "held_out_fraction": 0.3},
            "model": {"name": name, "source": str(model), "layer": 1, "hook": hook, "dtype": "float32"},
            "tokenize": {"context_length": 64},
            "train": {"batch_size": 64, "saes": [{"architecture": "topk", "num_features": 32, "k": 4}]},
            "harvest": {"keep_fraction": 0.8},
            "examples": {"rare_tokens": 5},
            "respond": {"candidates": 2, "chats": ["Hello"], "openings": ["the"], "tried_tokens": 4, "new_tokens": 8},
            "effects": {"features": 8},
            "compare": {"n": 4, "max_tokens": 1500, "min_active": 2},
            "completeness": {"lists": [str(THINGS)]},
            "strengths": {"features": 2, "strengths": [1, 2], "text_strengths": [1], "positions": 2, "new_tokens": 4},
        }
    )
    run_checked(ReadRecipe(recipe, [], frozenset()), store.run(name))
    return store.run(name)


@pytest.fixture
def pages(paths: RunPaths) -> Iterator[TestClient]:
    with TestClient(app_with_contexts(Settings(store=paths.store.root))) as client:
        yield client


def test_doctor_finds_a_curve_and_a_text_that_are_not_the_models(
    name: str, paths: RunPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = strengths._stored

    def altered(*arguments: Any) -> list[dict[str, Any]]:
        points = stored(*arguments)
        return [
            {**one, "perplexity": one["perplexity"] * 1.1, "texts": [f"{text}!" for text in one["texts"]]}
            for one in points
        ]

    monkeypatch.setattr(strengths, "_stored", altered)
    assert not run_doctor(paths.store, name, False)
    assert "does not hold: strengths: ln perplexity, strengths: texts" in " ".join(capsys.readouterr().out.split())


def test_from_a_corpus_to_steering(name: str, paths: RunPaths, pages: TestClient) -> None:
    assert run_doctor(paths.store, name, False)
    sae = f"{name}/{MODELS[name][1]}-topk-32"
    assert "/compare" not in pages.get(f"/{sae}").text.split("<main", 1)[1]
    assert "This run has one SAE only" in pages.get("/compare").text
    page = pages.get(f"/{sae}/1?context=full").context
    assert page["examples"].document is not None
    examples = pages.get(f"/api/v1/features/{sae}/1/examples").json()
    causes, effects = (
        pages.get(f"/api/v1/features/{sae}/1/examples/top/0/{kind}").json() for kind in ("causes", "effects")
    )
    assert causes["activation"] == pytest.approx(examples[0]["activation"], rel=0.01)
    assert len(effects["tokens"]) == len(examples[0]["tokens"])
    reading = pages.post("/api/v1/activations", json={"text": "the king", "saes": [sae]}).json()
    assert "".join(token["text"] for token in reading["tokens"]).replace("␣", " ").endswith("the king")
    body = {"features": [{"feature": f"{sae}/1", "strength": 8}], "prompt": "the king", "max_new_tokens": 4}
    lines = pages.post("/api/v1/steer", json=body).text.splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    written = {row: [e for e in events if e.get("row") == row and e.get("probability") is not None] for row in (0, 1)}
    assert all(written.values())
    explained = pages.post("/api/v1/attribution", json={"text": "the king", "saes": [sae], "target": "s"})
    assert explained.status_code == 200, explained.text


def test_neurons_strengths_and_concepts_are_measured_at_the_hook(name: str, paths: RunPaths, pages: TestClient) -> None:
    sae = f"{MODELS[name][1]}-topk-32"
    comparison = read_comparison(paths.stage("compare"))
    assert (comparison.why_none, comparison.num_layers) == ("", 2)
    assert load_manifest(paths.stage("strengths")).counts["saes"][sae]["num_measured"] == 2
    stored = {one["name"]: one for one in pages.get(f"/api/v1/completeness/{name}/{sae}").json()["concepts"]}
    asked = {"text": THINGS.read_text(), "sae": f"{name}/{sae}"}
    live = pages.post("/api/v1/completeness", json=asked).json()["concepts"]
    assert len(live) == len(stored) > 3
    for one in live:
        before = stored[one["name"]]
        assert (one["candidate"] is None) == (before["candidate"] is None)
        if one["candidate"]:
            assert one["candidate"]["mean"] == pytest.approx(before["candidate"]["mean"], rel=1e-3)
    assert pages.get("/neurons").status_code == pages.get(f"/completeness?run={name}&sae={sae}").status_code == 200
