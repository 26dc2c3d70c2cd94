"""Stage `evaluate` on a small random model, end to end."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import ACTIVATIONS_FILE, COUNTED_FILE
from data.layout import RunPaths, StorePaths
from data.manifests import require_stage
from data.published.metrics import loss_sample, recovered, with_interval
from pipeline.activations.held_out import LABEL_TOKENS, DrawnText, draw_held_out
from pipeline.labels.pairs import FeatureActivity
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.recipe import Recipe, make_recipe
from pipeline.stage import Work
from pipeline.stages import evaluate, examples, fetch, harvest, tokenize, train
from tests.support.models import save_tiny_model


def recipe_of(folder: Path, **evaluating: Any) -> Recipe:
    return make_recipe(
        {
            "name": "test",
            "corpus": {"source": "text", "path": str(folder / "texts"), "held_out_fraction": 0.4},
            "model": {"name": "tiny", "source": str(folder / "model"), "layer": 1, "dtype": "float32"},
            "tokenize": {"context_length": 32},
            "harvest": {"num_shards": 2},
            "train": {"batch_size": 64, "saes": [{"architecture": "batchtopk", "num_features": 48, "k": 4}]},
            "evaluate": evaluating,
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunPaths]:
    """A run of a random model whose stages up to `examples` are there."""
    folder = tmp_path_factory.mktemp("random")
    save_tiny_model(folder / "model")
    (folder / "texts").mkdir()
    for number in range(30):
        (folder / "texts" / f"{number}.txt").write_text(f"Text {number} says nothing of note. " * (1 + number % 4))
    paths = StorePaths(folder / "store").run("test")
    for stage in (fetch, tokenize, harvest, train, examples):
        stage.run(recipe_of(folder), paths)
    return folder, paths


def test_a_random_model_gets_no_ratio_but_differences_with_intervals(trained: tuple[Path, RunPaths]) -> None:
    folder, paths = trained
    counts = evaluate.run(recipe_of(folder), paths).counts
    metrics = json.loads((paths.stage("evaluate") / "metrics.json").read_text())["1-batchtopk-48"]
    tokenized = require_stage(paths, "tokenize").counts
    assert counts["num_cross_entropy_documents"] == tokenized["num_held_out_documents"] > 2
    assert metrics["num_ce_tokens"] == tokenized["num_held_out_tokens"]
    assert metrics["recovered_zero"] is None, "a random model is worse than a uniform guess"
    assert recovered(metrics, "zero") == "the baseline is no worse than the model"
    low, high = metrics["loss_added_ci"]
    assert metrics["loss_added"] == pytest.approx(metrics["ce_sae"] - metrics["ce"])
    assert low < metrics["loss_added"] < high
    assert "±" in (with_interval(metrics, "kl") or "")
    documents = json.loads((paths.stage("evaluate") / "losses.json").read_text())
    assert sum(one["tokens"] for one in documents) == metrics["num_ce_tokens"]
    total = sum(one["loss"]["1-batchtopk-48"] for one in documents)
    assert total / metrics["num_ce_tokens"] == pytest.approx(metrics["ce_sae"])


def test_a_budget_of_less_than_a_document_has_no_interval(trained: tuple[Path, RunPaths]) -> None:
    folder, paths = trained
    evaluate.run(recipe_of(folder, max_cross_entropy_tokens=20), paths)
    metrics = json.loads((paths.stage("evaluate") / "metrics.json").read_text())["1-batchtopk-48"]
    assert (metrics["num_ce_tokens"], metrics["num_ce_documents"], metrics["loss_added_ci"]) == (20, 1, None)
    assert loss_sample(metrics) == "20 tokens of one held-out document, which gives no interval"


@pytest.mark.parametrize("label_tokens", [LABEL_TOKENS, 100])
def test_what_is_active_in_the_text_that_labels_are_tried_on_is_kept(
    label_tokens: int, trained: tuple[Path, RunPaths], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, paths = trained
    monkeypatch.setattr(evaluate, "LABEL_TOKENS", label_tokens)
    stage, recipe = evaluate.STAGE, recipe_of(folder, max_cross_entropy_tokens=20)
    work = Work(recipe, paths, tmp_path, {name: require_stage(paths, name) for name in stage.needs}, "0", resumed=False)
    stage.work(work)
    corpus, bos = TokenizedCorpus(paths.stage("tokenize")), work.inputs["tokenize"].counts["bos_id"]
    model = LanguageModel.load(folder / "model", layer=1, dtype="float32")
    sae = SAE.load(paths.stage("train") / "1-batchtopk-48")
    numbers = draw_held_out(corpus, label_tokens, recipe.seed)
    rows = [
        model.residuals(torch.from_numpy(corpus.opened(one, bos))[None])[0, 1:]
        for one in corpus.sequences[numbers].tolist()
    ]
    dense_NF = sae.encode(torch.cat(rows).float()).numpy()
    assert 0 < len(dense_NF) < label_tokens
    found = FeatureActivity.load(tmp_path / "1-batchtopk-48" / ACTIVATIONS_FILE)
    kept_NF = np.zeros_like(dense_NF)
    kept_NF[found.token_K, found.feature_K] = found.value_K
    assert np.load(tmp_path / COUNTED_FILE).tolist() == [True] * len(dense_NF)
    assert all((np.diff(found.of(feature).tokens) > 0).all() for feature in range(48))
    np.testing.assert_allclose(kept_NF, dense_NF, rtol=1e-5, atol=1e-5)
    token_N = np.arange(len(dense_NF))
    documents, positions = DrawnText(corpus, numbers).places(corpus, token_N)
    expected = [(d, p) for d, start, length in corpus.sequences[numbers].tolist() for p in range(start, start + length)]
    assert list(zip(documents.tolist(), positions.tolist(), strict=True)) == expected
