"""The harvest of a tiny random Llama: every stored row is the activation of the token that it names."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.shards import SCALES_FILE
from data.errors import ArtifactError, ConfigError, CorpusError, StorageError
from data.layout import RunPaths, StorePaths
from pipeline.activations import calibration
from pipeline.activations import harvest as harvesting
from pipeline.activations.batches import training_batches
from pipeline.activations.residuals import LEFT_OUT_FILE, MOMENTS_FILE, ORDER_FILE, residual_blocks
from pipeline.activations.rows import as_tensor, harvested_rows
from pipeline.models.language_model import LanguageModel
from pipeline.recipe import Recipe, make_recipe
from pipeline.stages import harvest
from tests.support.fakes import make_corpus, put_manifest
from tests.support.models import tiny_llama

BOS, CONTEXT, LAYER, SINK = 256, 48, 1, 250
"""Token SINK gets an embedding that is far longer than the others'."""


def recipe_with(**options: Any) -> Recipe:
    return make_recipe(
        {
            "name": "test",
            "corpus": {"source": "sample"},
            "model": {"name": "tiny", "source": "tiny", "layer": LAYER, "dtype": "float32"},
            "harvest": {"num_shards": 4, "batch_tokens": 200} | options,
            "train": {"saes": [{"architecture": "relu", "num_features": 12}]},
        }
    )


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model = tiny_llama()
    with torch.no_grad():
        model.model.embed_tokens.weight[SINK] *= 300
    model.save_pretrained(folder)
    return folder


def documents() -> list[list[int]]:
    generator = np.random.default_rng(0)
    texts = [generator.integers(0, 240, length).tolist() for length in generator.integers(1, 150, 40)]
    texts[3][0] = texts[7][-1] = SINK
    return texts


@pytest.fixture
def paths(store: StorePaths, model_folder: Path) -> RunPaths:
    """A run with its model fetched and its corpus tokenized."""
    paths = store.run("test")
    make_corpus(paths.stage("tokenize"), documents(), CONTEXT, held_out=[2, 5])
    put_manifest(paths, "tokenize", {"bos_id": BOS})
    put_manifest(paths, "fetch", {"model": str(model_folder)})
    return paths


def corpus_of(paths: RunPaths) -> TokenizedCorpus:
    return TokenizedCorpus(paths.stage("tokenize"))


def stored_rows(paths: RunPaths) -> tuple[np.ndarray, torch.Tensor]:
    parts = list(harvested_rows(paths).shuffled(seed=0))
    values = torch.cat([as_tensor(rows.values_ND) for rows in parts])
    return np.concatenate([rows.index_N for rows in parts]), values.float()


def training_tokens(corpus: TokenizedCorpus) -> set[tuple[int, int]]:
    rows = np.flatnonzero(~corpus.held_out)
    return {(int(corpus.document_ids[row]), p) for row in rows for p in range(len(corpus.document_tokens(row)))}


def names(index_N: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(index_N["document_id"].tolist(), index_N["position"].tolist(), strict=True))


def test_a_thousand_rows_lead_back_to_their_token_and_context(paths, model_folder):
    """Each is recomputed alone, without batch or padding, from the token that it names and what stands before it."""
    harvest.run(recipe_with(), paths)
    corpus, model = corpus_of(paths), LanguageModel.load(model_folder, layer=LAYER, dtype="float32")
    index_N, x_ND = stored_rows(paths)
    row_of = {int(document_id): row for row, document_id in enumerate(corpus.document_ids)}
    for number in np.random.default_rng(1).choice(len(index_N), 1000, replace=False):
        row = index_N[number]
        document = corpus.document_tokens(row_of[int(row["document_id"])]).astype(np.int64)
        start = int(row["position"]) // (CONTEXT - 1) * (CONTEXT - 1)
        assert start == corpus.sequences["start"][row["sequence"]]
        context = torch.tensor([[BOS, *document[start : row["position"] + 1]]])
        torch.testing.assert_close(x_ND[number], model.residuals(context)[0, -1], rtol=1 / 128, atol=1e-3)


def test_without_bos_the_token_before_a_sequence_opens_it(store, model_folder):
    """Every token but the first of its document is a row, recomputed alone from what the model reads before it."""
    paths, texts = store.run("test"), [text for text in documents() if len(text) > 1]
    corpus = make_corpus(paths.stage("tokenize"), texts, CONTEXT, held_out=[2, 5], bos_id=None)
    put_manifest(paths, "tokenize", {"bos_id": None})
    put_manifest(paths, "fetch", {"model": str(model_folder)})
    harvest.run(recipe_with(), paths)
    model = LanguageModel.load(model_folder, layer=LAYER, dtype="float32")
    index_N, x_ND = stored_rows(paths)
    row_of = {int(document_id): row for row, document_id in enumerate(corpus.document_ids)}
    left_out = np.load(paths.stage("harvest") / LEFT_OUT_FILE)
    expected = {(int(corpus.document_ids[row]), p) for row, text in enumerate(texts) for p in range(1, len(text))
                if not corpus.held_out[row]}  # fmt: skip
    assert {*names(index_N), *names(left_out)} == expected
    for number in np.random.default_rng(1).choice(len(index_N), 200, replace=False):
        position = int(index_N[number]["position"])
        document = corpus.document_tokens(row_of[int(index_N[number]["document_id"])]).astype(np.int64)
        start = (position - 1) // (CONTEXT - 1) * (CONTEXT - 1)
        context = torch.tensor([document[start : position + 1].tolist()])
        torch.testing.assert_close(x_ND[number], model.residuals(context)[0, -1], rtol=1 / 128, atol=1e-3)


def test_every_training_token_is_stored_or_left_out_once(paths):
    manifest = harvest.run(recipe_with(), paths)
    index_N, x_ND = stored_rows(paths)
    left_out = np.load(paths.stage("harvest") / LEFT_OUT_FILE)
    together = names(index_N) + names(left_out)
    assert len(together) == len(set(together))
    assert set(together) == training_tokens(corpus_of(paths))
    counts = manifest.counts
    assert (counts["num_rows"], counts["num_tokens"]) == (len(index_N), len(together))
    assert x_ND.norm(dim=1).max() <= counts["sink_threshold"] * 1.01
    assert counts["padding_share"] < 0.05


def test_attention_sinks_are_left_out(paths):
    manifest = harvest.run(recipe_with(), paths)
    corpus = corpus_of(paths)
    left_out = np.load(paths.stage("harvest") / LEFT_OUT_FILE)
    last = len(documents()[7]) - 1
    assert sorted(names(left_out)) == sorted([(int(corpus.document_ids[3]), 0), (int(corpus.document_ids[7]), last)])
    assert manifest.counts["num_left_out"] == 2


def test_moments_are_those_of_the_stored_rows(paths):
    harvest.run(recipe_with(), paths)
    _, x_ND = stored_rows(paths)
    moments = np.load(paths.stage("harvest") / MOMENTS_FILE)
    mean_D = x_ND.double().mean(0)
    rms = (x_ND.double() - mean_D).square().sum(1).mean().sqrt()
    np.testing.assert_allclose(moments["mean_D"], mean_D, atol=1e-3)
    np.testing.assert_allclose(moments["rms"], rms, rtol=1e-3)


def test_keep_fraction_chooses_the_same_rows_whatever_the_batches(paths):
    manifest = harvest.run(recipe_with(keep_fraction=0.3), paths)
    first = set(names(stored_rows(paths)[0]))
    harvest.run(recipe_with(keep_fraction=0.3, batch_tokens=500), paths)
    assert set(names(stored_rows(paths)[0])) == first
    assert abs(len(first) / manifest.counts["num_tokens"] - 0.3) < 0.04


def test_draws_are_even_and_differ_by_seed():
    corpus_rows = np.zeros(20_000, harvesting.ROW)
    corpus_rows["sequence"], corpus_rows["position"] = np.divmod(np.arange(20_000), 100)
    drawn = harvesting.draw_tokens(corpus_rows, 0, 0.25).reshape(200, 100)
    assert abs(drawn.mean() - 0.25) < 0.015
    assert drawn.mean(0).std() < 0.05
    assert drawn.mean(1).std() < 0.07
    other = harvesting.draw_tokens(corpus_rows, 1, 0.25).reshape(200, 100)
    assert abs((drawn & other).mean() - 1 / 16) < 0.01
    assert harvesting.draw_tokens(corpus_rows, 0, 1.0).all()


def test_int8_keeps_the_values_to_a_step(paths, monkeypatch):
    monkeypatch.setattr(harvesting, "CALIBRATION_TOKENS", 400)
    harvest.run(recipe_with(), paths)
    exact_N, exact_ND = stored_rows(paths)
    manifest = harvest.run(recipe_with(storage="int8"), paths)
    parts = list(harvested_rows(paths).shuffled(seed=0))
    scales_D = np.load(paths.stage("harvest") / SCALES_FILE)
    values_ND = np.concatenate([rows.values_ND for rows in parts]) * scales_D
    order = {name: place for place, name in enumerate(names(exact_N))}
    expected_ND = exact_ND[[order[name] for name in names(np.concatenate([rows.index_N for rows in parts]))]].numpy()
    inside = np.abs(expected_ND) <= scales_D * calibration.INT8_LARGEST
    assert np.abs(values_ND - expected_ND)[inside].max() <= scales_D.max() * 0.6 + 0.02
    assert 0 < 1 - inside.mean() < 0.01
    assert manifest.counts["clipped_share"] == pytest.approx(1 - inside.mean(), abs=2e-3)


@pytest.mark.parametrize("storage", ["bfloat16", "int8"])
@pytest.mark.parametrize("dies_at", [1, 3, 9])
def test_a_killed_harvest_goes_on_and_ends_the_same(paths, store, monkeypatch, dies_at, storage):
    recipe = recipe_with(storage=storage, keep_fraction=0.6)
    monkeypatch.setattr(harvesting, "HARVEST_CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(harvesting, "CALIBRATION_TOKENS", 400)
    whole = store.run("whole")
    for stage in ("fetch", "tokenize"):
        shutil.copytree(paths.stage(stage), whole.stage(stage))
    harvest.run(recipe, whole)

    appended = harvesting.ShardWriter.append

    def dying(self, values_ND, index_N, batch):
        appended(self, values_ND, index_N, batch)
        if batch == dies_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(harvesting.ShardWriter, "append", dying)
        with pytest.raises(KeyboardInterrupt):
            harvest.run(recipe, paths)
    assert not paths.stage("harvest").exists()
    runs = []
    residuals = LanguageModel.residuals
    monkeypatch.setattr(LanguageModel, "residuals", lambda *arguments: runs.append(1) or residuals(*arguments))
    manifest = harvest.run(recipe, paths)
    assert len(runs) == len(training_batches(corpus_of(paths), 200)) - dies_at
    names_of_files = sorted(manifest.files)
    assert names_of_files == sorted(p.name for p in whole.stage("harvest").iterdir() if p.name != "manifest.json")
    for name in names_of_files:
        assert (paths.stage("harvest") / name).read_bytes() == (whole.stage("harvest") / name).read_bytes(), name


def test_a_second_run_does_nothing(paths, monkeypatch):
    first = harvest.run(recipe_with(), paths)
    monkeypatch.setattr(LanguageModel, "residuals", lambda *_: pytest.fail("the model ran again"))
    assert harvest.run(recipe_with(), paths) == first


def blocks_of(recipe: Recipe, paths: RunPaths, **options: Any) -> list[tuple[list[tuple[int, int]], torch.Tensor]]:
    blocks = list(residual_blocks(recipe, paths, **({"block_tokens": 300} | options)))
    assert max(len(block.index_N) for block in blocks) <= options.get("block_tokens", 300)
    return [(names(block.index_N), block.x_ND.float()) for block in blocks]


@pytest.mark.parametrize("options", [{}, {"keep_fraction": 0.2}, {"storage": "int8"}])
def test_residual_blocks_give_every_token_in_harvest_order(paths, options):
    """From the shards or from the model alike, the attention sinks left out."""
    recipe = recipe_with(**options)
    harvest.run(recipe, paths)
    corpus, order_S = corpus_of(paths), np.load(paths.stage("harvest") / ORDER_FILE)
    left_out = set(names(np.load(paths.stage("harvest") / LEFT_OUT_FILE)))
    expected = [
        name
        for document, start, length in corpus.sequences[order_S].tolist()
        for position in range(start, start + length)
        if (name := (int(corpus.document_ids[document]), position)) not in left_out
    ]
    blocks = blocks_of(recipe, paths)
    assert [name for found, _ in blocks for name in found] == expected
    harvest.run(recipe_with(), paths)
    index_N, x_ND = stored_rows(paths)
    place = {name: row for row, name in enumerate(names(index_N))}
    for found, block_ND in blocks:
        torch.testing.assert_close(block_ND, x_ND[[place[name] for name in found]], rtol=1 / 128, atol=1e-4)


@pytest.mark.parametrize("keep_fraction", [1.0, 0.2])
def test_residual_blocks_stop_after_enough_tokens(paths, keep_fraction):
    recipe = recipe_with(keep_fraction=keep_fraction)
    harvest.run(recipe, paths)
    corpus, order_S = corpus_of(paths), np.load(paths.stage("harvest") / ORDER_FILE)
    some = sum(len(found) for found, _ in blocks_of(recipe, paths, max_tokens=500))
    lengths_S = np.cumsum(corpus.sequences["length"][order_S])
    assert 0 <= lengths_S[np.searchsorted(lengths_S, 500)] - some <= 2


def test_too_little_space_is_said_before_anything_runs(paths, monkeypatch):
    usage = shutil.disk_usage(paths.store.root)._replace(free=1000)
    monkeypatch.setattr(harvesting.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(LanguageModel, "residuals", lambda *_: pytest.fail("the model ran"))
    with pytest.raises(StorageError, match=r"lower harvest\.keep_fraction"):
        harvest.run(recipe_with(), paths)


def test_no_training_documents(paths):
    make_corpus(paths.stage("tokenize"), [[1, 2]], CONTEXT, held_out=[0])
    put_manifest(paths, "tokenize", {"bos_id": BOS})
    with pytest.raises(CorpusError, match="no training documents"):
        harvest.run(recipe_with(), paths)


def test_sequences_longer_than_the_model_reads(paths):
    make_corpus(paths.stage("tokenize"), [[1] * 400], 300)
    put_manifest(paths, "tokenize", {"bos_id": BOS})
    with pytest.raises(ConfigError, match=r"set tokenize\.context_length=256"):
        harvest.run(recipe_with(), paths)


def test_a_corpus_tokenized_for_another_model(paths):
    make_corpus(paths.stage("tokenize"), [[1, 9999]], CONTEXT)
    put_manifest(paths, "tokenize", {"bos_id": BOS})
    with pytest.raises(ArtifactError, match="tokenized for another model"):
        harvest.run(recipe_with(), paths)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize("after", [0, 20])
def test_rows_that_are_not_finite_end_the_harvest_and_are_no_sinks(paths, monkeypatch, wrong, after):
    calls = []

    def residuals(self, tokens_BL):
        calls.append(tokens_BL.shape)
        x_BLD = torch.ones(*tokens_BL.shape, 32, dtype=torch.float16)
        if len(calls) > after:
            x_BLD[0, 1, 5] = wrong
        return x_BLD

    monkeypatch.setattr(LanguageModel, "residuals", residuals)
    monkeypatch.setattr(harvesting, "CALIBRATION_TOKENS", 300)
    with pytest.raises(
        ConfigError, match=r"1 of \d+ rows .* not finite in float16, whose .* 6\.55e\+04: set model\.dtype"
    ):
        harvest.run(recipe_with(), paths)
    assert not paths.stage("harvest").exists()
