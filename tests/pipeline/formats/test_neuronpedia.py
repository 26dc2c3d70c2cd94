"""Dashboards for Neuronpedia: what is written is what Neuronpedia takes, and says what our pages say."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.artifacts.features import INTERVAL, TOP, histogram_edges
from data.layout import StorePaths
from data.published.state import SAES_FOLDER, open_published
from data.published.tables import PublishedRun
from pipeline.commands.exporting import export_to
from pipeline.formats import neuronpedia, neuronpedia_bundle
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from tests.support.neuronpedia_schema import BATCHES, HEADS, DashboardBatch

NAME, SOURCE = "1-relu-64", Path("1-relu-64/tiny/1-relu-64")


@pytest.fixture(scope="module")
def bundle(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("neuronpedia") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neuronpedia_bundle, "BATCH", 40)
        patch.setattr(neuronpedia_bundle, "PART", 16)
        export_to(published_store, None, NAME, "neuronpedia", target)
    return target


def lines(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        return [json.loads(line) for line in opened]


def dashboards(bundle: Path) -> list[dict[str, Any]]:
    """All features, batch after batch."""
    files = sorted((bundle / NAME / "saedashboard").iterdir())
    assert [file.name for file in files] == ["batch-0.json", "batch-1.json"]
    return [feature for file in files for feature in json.loads(file.read_text())["features"]]


def test_every_file_is_as_neuronpedia_takes_it(bundle: Path) -> None:
    for file in (bundle / NAME / "saedashboard").iterdir():
        DashboardBatch.model_validate_json(file.read_text())
    for name, schema in HEADS.items():
        schema.model_validate_json((bundle / SOURCE / f"{name}.jsonl").read_text())
    for name, schema in BATCHES.items():
        for number in range(2):
            for row in lines(bundle / SOURCE / name / f"batch-{number}.jsonl.gz"):
                schema.model_validate(row)
    assert {path.name for path in (bundle / SOURCE).iterdir()} == {*(f"{name}.jsonl" for name in HEADS), *BATCHES}
    assert "Neuronpedia" in (bundle / NAME / "README.md").read_text()


def test_rows_name_each_other(bundle: Path) -> None:
    release, model, source_set, source = (json.loads((bundle / SOURCE / f"{name}.jsonl").read_text()) for name in HEADS)
    assert source_set["releaseName"] == release["name"]
    assert (source["modelId"], source["setName"]) == (source_set["modelId"], source_set["name"])
    assert (model["id"], source["id"], source_set["name"]) == ("tiny", NAME, "relu-64")
    assert (model["layers"], model["dimension"]) == (3, 32)
    rows = [row for n in range(2) for row in lines(bundle / SOURCE / "activations" / f"batch-{n}.jsonl.gz")]
    assert len({row["id"] for row in rows}) == len(rows)
    assert {(row["modelId"], row["layer"]) for row in rows} == {("tiny", NAME)}


def test_examples_and_statistics_are_those_of_the_run(bundle: Path, published_store: StorePaths) -> None:
    published = open_published(published_store)
    tables, record = PublishedRun(published.folder), next(s for s in published.record.saes if s.name == NAME)
    found = dashboards(bundle)
    assert [one["feature_index"] for one in found] == list(range(64))
    for one in found:
        feature = tables.take("features", [record.first_row + one["feature_index"]]).to_pylist()[0]
        assert one["frac_nonzero"] == pytest.approx(feature["density"], rel=1e-6)
        assert sum(one["freq_hist_data_bar_heights"]) == feature["num_active"]
        assert one["pos_values"] == pytest.approx(feature["promoted_logits"], rel=1e-6)
        kept = [
            example for kind in (TOP, INTERVAL)
            for example in tables.examples(feature["first_example"], feature["num_examples"], kind).to_pylist()
        ]  # fmt: skip
        assert len(one["activations"]) == len(kept)
        highest = [shown["values"][shown["qualifying_token_index"]] for shown in one["activations"]]
        assert sorted(highest) == pytest.approx(sorted(example["activation"] for example in kept), rel=1e-6)
        for shown in one["activations"]:
            if shown["bin_min"] >= 0:
                value = shown["values"][shown["qualifying_token_index"]]
                assert shown["bin_min"] * (1 - 1e-6) <= value <= shown["bin_max"] * (1 + 1e-6)


def test_histograms_of_logits_are_those_of_the_direct_path(bundle: Path, published_store: StorePaths) -> None:
    published = open_published(published_store)
    sae = SAE.load(published.folder / SAES_FOLDER / NAME)
    model = LanguageModel.load(published_store.root / published.record.model_source, layer=1, dtype="float32")
    scale_D, W_U_VD = model.unembedding()
    for one in dashboards(bundle)[:5]:
        logits_V = (sae.W_dec_FD[one["feature_index"]] * scale_D) @ W_U_VD.T
        counts, edges = np.histogram(logits_V.detach().numpy(), bins=50)
        assert np.abs(np.array(one["logits_hist_data_bar_heights"]) - counts).sum() <= 2  # rounding at edges
        assert one["logits_hist_data_bar_values"] == pytest.approx((edges[:-1] + edges[1:]) / 2, rel=1e-3, abs=1e-3)


def test_the_shares_of_bands_are_of_all_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    acts = torch.rand(4000, generator=generator).numpy() * 0.9 + 1e-4
    histogram = np.histogram(acts, histogram_edges(1.0))[0]
    record = {"histogram": histogram, "max": float(acts.max()), "density": 0.25}
    shares = neuronpedia.band_shares(record, 1.0, 5)
    assert shares.sum() == pytest.approx(1)
    expected = np.histogram(acts, np.linspace(0, acts.max(), 6))[0] / (4 * len(acts)) + [0.75, 0, 0, 0, 0]
    assert shares == pytest.approx(expected, abs=0.005)
    dead = {"histogram": np.zeros_like(histogram), "max": 0.0, "density": 0.0}
    assert neuronpedia.band_shares(dead, 1.0, 5).tolist() == [1, 0, 0, 0, 0]


def test_tokens_are_text_that_a_database_keeps() -> None:
    assert [neuronpedia.token_text(token) for token in (b" a", b"\x00", b"\xf0\x9f")] == [" a", "\ufffd", "\ufffd"]
    names = neuronpedia.names_of("llama-3.2", "L", 3, "3-mlp-relu-8", {"num_sequences": 1, "context_length": 8}, "")
    assert (names.model, names.source) == ("llama-3-2", "3-mlp-relu-8")


def test_without_the_model_logits_have_no_histogram(published_store: StorePaths, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neuronpedia_bundle, "_unembedding", lambda published, store: None)
        export_to(published_store, None, NAME, "neuronpedia", tmp_path / "out")
    batch = json.loads((tmp_path / "out" / NAME / "saedashboard/batch-0.json").read_text())
    DashboardBatch.model_validate(batch)
    assert batch["features"][0]["logits_hist_data_bar_heights"] == []
