"""The explain stage on planted artifacts: live features get labels, dead ones none; promoted tokens are listed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.arrow import read_arrow, write_arrow
from data.artifacts.features import (
    ACTIVATIONS,
    ACTIVATIONS_FILE,
    COUNTED_FILE,
    EXAMPLES,
    EXAMPLES_FILE,
    EXPLANATIONS,
    EXPLANATIONS_FILE,
    HELD_OUT_FILE,
    HISTOGRAM_BINS,
    STATISTICS,
    STATISTICS_FILE,
)
from data.layout import StorePaths
from data.manifests import Manifest
from pipeline import processes
from pipeline.labels.rule import Condition, Rule
from pipeline.models.sae import SAE, SAEHeader
from pipeline.recipe import make_recipe
from pipeline.stage import Work
from pipeline.stages import explain as stage
from tests.support.fakes import make_corpus

VOCABULARY = [b" University", b" of", b" the", b"\n", b"!", b" far"]
NUM_FEATURES, WIDTH = 5, 6
DOCUMENTS = [[2, 0, 1, 5, 3, 2], [1, 0, 5, 2, 3, 3], [5, 0, 4, 2, 3, 1], [2, 0, 2, 1, 3, 0]]
HELD_OUT = (0, 0, 1, 2, 3, 3, 1)
"""Held-out documents repeat those of training, with another end each."""


def ended(number: int) -> list[int]:
    """A document of those above with three words that tell it from its copies."""
    return [*DOCUMENTS[HELD_OUT[number]], *(1 + (number >> bit & 1) for bit in range(3))]


def write(path: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrow(path, schema, pa.Table.from_pylist(rows, schema=schema).to_batches())


def plant_examples(folder: Path) -> None:
    """Feature 0 fires on " University"; 1 is dead; 2 fires on line breaks; 3 is live without examples; 4 is dead."""
    zeros = [0] * HISTOGRAM_BINS
    live = (0, 2, 3)
    statistics = [
        dict.fromkeys(STATISTICS.names, 1)
        | {"index": f, "max": float(f in live), "histogram": zeros, "band_counts": [1]}
        for f in range(NUM_FEATURES)
    ]
    write(folder / STATISTICS_FILE, STATISTICS, statistics)
    blank = dict.fromkeys(EXAMPLES.names, 0) | {"offsets": [], "values": [], "band": -1, "length": 6}
    examples = [
        blank | {"index": f, "rank": document, "document": document, "position": position}
        for f, position in ((0, 1), (2, 4))
        for document in range(4)
    ]
    write(folder / EXAMPLES_FILE, EXAMPLES, examples)


def plant_activations(folder: Path, name: str, held_out: list[list[int]]) -> None:
    """What `evaluate` writes of the held-out documents; token 4 is an attention sink."""
    tokens = np.array([token for document in held_out for token in document])
    (folder / name).mkdir(parents=True)
    np.save(folder / COUNTED_FILE, tokens != 4)
    rows = [np.flatnonzero(tokens == fires).tolist() for fires in (0, -1, 3, -1, -1)]
    write(folder / name / ACTIVATIONS_FILE, ACTIVATIONS, [{"tokens": row, "values": [1.0] * len(row)} for row in rows])


class Model(SimpleNamespace):
    """A model that is asked for its unembedding alone."""

    def unembedding(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((WIDTH,), 2.0), W_U_VD


W_U_VD = torch.zeros(len(VOCABULARY), WIDTH)
W_U_VD[:, :3] = torch.tensor([[1.0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 2, 1], [-3, 0, 3], [0, -1, 0]])


RECIPE = make_recipe(
    {
        "name": "test",
        "corpus": {"source": "sample"},
        "model": {"name": "tiny", "source": "sample", "layer": 1},
        "train": {"saes": [{"architecture": "relu", "num_features": NUM_FEATURES}]},
        "explain": {"promoted": 2},
    }
)
(NAME,) = RECIPE.sae_names
ALL_DOCUMENTS = [*DOCUMENTS, *(ended(number) for number in range(len(HELD_OUT)))]
HELD_OUT_DOCUMENTS = ALL_DOCUMENTS[len(DOCUMENTS) :]


def plant_sae(folder: Path) -> None:
    """Reads " University" and line breaks, and writes them; the last two features write one direction."""
    W_dec_FD = torch.eye(NUM_FEATURES, WIDTH)
    W_dec_FD[3:] = torch.tensor([0.0, -1.0, 0.0, 0.0, 0.0, 0.0])
    W_enc_FD = torch.zeros(NUM_FEATURES, WIDTH)
    W_enc_FD[0, 0] = W_enc_FD[2, 3] = 1.0
    header = SAEHeader(NAME, "relu", "relu", NUM_FEATURES, WIDTH, "tiny", 1)
    bias_F, threshold_F = torch.zeros(2, NUM_FEATURES).unbind(0)
    SAE(header, W_enc_FD, bias_F.clone(), W_dec_FD, torch.zeros(WIDTH), threshold_F.clone()).save(folder)


@pytest.fixture
def work(store: StorePaths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Work:
    """Everything that the stage reads, with a model and a tokenizer that are not loaded."""
    paths = store.run("test")
    make_corpus(paths.stage("tokenize"), ALL_DOCUMENTS, 16, range(len(DOCUMENTS), len(ALL_DOCUMENTS)))
    plant_sae(paths.stage("train") / NAME)
    plant_examples(paths.stage("examples") / NAME)
    plant_activations(paths.stage("evaluate"), NAME, HELD_OUT_DOCUMENTS)
    monkeypatch.setattr(stage, "load_language_model", lambda *_: Model())
    monkeypatch.setattr(stage, "residual_blocks", lambda *_, **__: iter(()))
    monkeypatch.setattr(stage, "model_folder", lambda *_: tmp_path)
    monkeypatch.setattr(stage.Tokenizer, "load", lambda _: SimpleNamespace(token_bytes=lambda num_ids: VOCABULARY))
    known = {"tokenize": {"bos_id": 5}, "harvest": {"sink_threshold": 10.0}}
    inputs = {n: Manifest(n, "0" * 16, {}, {}, 0, known.get(n, {}), {}, "", 0.0, "") for n in stage.STAGE.needs}
    folder = tmp_path / "out"
    folder.mkdir()
    return Work(RECIPE, paths, folder, inputs, "0" * 16, resumed=False)


@pytest.mark.parametrize(("at_once", "worthwhile"), [(2, 2048), (2, 0), (2048, 2048)])
def test_live_features_have_labels_that_were_tried(
    work: Work, at_once: int, worthwhile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "AT_ONCE", at_once)
    monkeypatch.setattr(processes, "WORTHWHILE", worthwhile)  # 0: in other processes

    counts = stage.explain(work)

    table = read_arrow(work.folder / NAME / EXPLANATIONS_FILE)
    assert table.schema.equals(EXPLANATIONS)
    rows = table.to_pylist()
    assert [row["index"] for row in rows] == list(range(NUM_FEATURES))
    assert [row["label"] for row in rows] == ['"University"', "", "line break", "", ""]
    assert [row["label_score"] for row in rows] == [1.0, None, pytest.approx(10 / 14), None, None]  # not blank lines
    assert [row["label_precision"] for row in rows] == [1.0, None, 1.0, None, None]
    assert [row["label_said"] for row in rows] == [9, None, 5, None, None]
    assert [row["label_tested"] for row in rows] == ["training", "", "training", "", ""]  # fewer than ten are strong
    assert [row["label_levels"] for row in rows] == [[1.0] * 5, [], [pytest.approx(5 / 9)] * 5, [], []]
    assert [row["top_words"] for row in rows] == [["University"], [], ["line break"], [], []]
    assert Rule.from_json(rows[0]["label_rule"]) == Rule((Condition("here", "word", ("university",)),))
    assert {row["label_origin"] for row in rows} == {"statistics"}
    assert {row["specificity"] for row in rows} == {None}
    assert counts["saes"][NAME] == {"num_labels": 2, "num_unlabelled": 0, "num_untested": 0}


def test_tokens_that_a_feature_writes_are_listed(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "AT_ONCE", 2)

    stage.explain(work)

    rows = read_arrow(work.folder / NAME / EXPLANATIONS_FILE).to_pylist()
    assert (rows[0]["promoted"], rows[0]["promoted_logits"]) == ([1, 0], [4.0, 2.0])
    assert (rows[0]["suppressed"][0], rows[0]["suppressed_logits"][0]) == (4, -6.0)
    assert rows[3]["promoted"][0] == 5


def test_held_out_tokens_of_every_feature_are_kept(work: Work) -> None:
    stage.explain(work)

    tokens = [token for document in HELD_OUT_DOCUMENTS for token in document]
    active = read_arrow(work.folder / NAME / HELD_OUT_FILE)["tokens"].to_pylist()
    assert active == [[n for n, token in enumerate(tokens) if token == fires] for fires in (0, -1, 3, -1, -1)]
