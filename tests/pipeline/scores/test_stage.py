"""Stage `score` on planted features: a label that is right gets high scores, one that is shuffled low ones."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.arrow import read_arrow, write_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.effects import EFFECTS, EFFECTS_FILE
from data.artifacts.features import (
    EXAMPLES,
    EXAMPLES_FILE,
    EXPLANATIONS,
    EXPLANATIONS_FILE,
    STATISTICS,
    STATISTICS_FILE,
)
from data.artifacts.responses import RESPONSES_FILE, Responses
from data.artifacts.scores import JUDGED_FILE, SCORES_FILE, TASK_NAMES, read_judges
from data.layout import RunPaths, StorePaths
from pipeline.activations.residuals import ResidualBlock
from pipeline.judges.tasks import TASKS
from pipeline.labels.rule import Condition, Rule
from pipeline.models.sae import SAE, SAEHeader
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import Recipe, make_recipe
from pipeline.stages import score
from tests.support.chat_model import make_chat_model
from tests.support.fake_run import statistics
from tests.support.fakes import make_corpus, put_manifest

LETTERS = "bcdfghjk"
"""Feature f is active where LETTERS[f] stands alone; its activation differs from token to token."""
NAME = "0-relu-8"
SHUFFLED = 3
"""The feature that has the label of the next one."""


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    paths = StorePaths(tmp_path_factory.mktemp("store")).run("planted")
    model = make_chat_model(paths.store.models / "tiny")
    vocabulary = Tokenizer.load(model).token_bytes()
    ids = [vocabulary.index(letter.encode()) for letter in LETTERS]
    space = vocabulary.index(b" ")
    rng = np.random.default_rng(0)
    documents = [
        [token for letter in rng.integers(len(ids), size=50) for token in (ids[letter], space)] for _ in range(30)
    ]
    corpus = make_corpus(paths.stage("tokenize"), documents, 101, range(8))
    counts = {"bos_id": 0, "vocab_size": len(vocabulary), "context_length": 101}
    put_manifest(paths, "tokenize", counts)
    put_manifest(paths, "fetch", {"model": "models/tiny", "model_name": "Tiny"})
    put_manifest(paths, "harvest", {"num_tokens": 2200})
    _features(paths, corpus, ids)
    return paths


def residuals(corpus: TokenizedCorpus, ids: list[int]) -> tuple[torch.Tensor, np.ndarray]:
    """One dimension for each letter, of random height [N, 8], and the names of the rows."""
    rng = np.random.default_rng(1)
    rows, names = [], []
    for number in corpus.sequence_numbers(held_out=False).tolist():
        _, start, _length = corpus.sequences[number].tolist()
        for offset, token in enumerate(corpus.sequence_tokens(number).tolist()):
            row = np.zeros(len(ids), np.float32)
            if token in ids:
                row[ids.index(token)] = 0.1 + rng.random()
            rows.append(row)
            names.append((0, number, start + offset))
    dtype = np.dtype([("document_id", "<i8"), ("sequence", "<i4"), ("position", "<i4")])
    return torch.from_numpy(np.array(rows)), np.array(names, dtype)


def _features(paths: RunPaths, corpus: TokenizedCorpus, ids: list[int]) -> None:
    W_FD = torch.eye(len(ids))
    header = SAEHeader(NAME, "relu", "relu", len(ids), len(ids), "tiny", 0)
    SAE(header, W_FD.clone(), torch.zeros(len(ids)), W_FD, torch.zeros(len(ids)), torch.zeros(len(ids))).save(
        paths.stage("train") / NAME
    )
    put_manifest(paths, "train", {})
    x_ND, _ = residuals(corpus, ids)
    write(paths.stage("examples") / NAME / STATISTICS_FILE, STATISTICS, list(statistics(x_ND.numpy(), 1.0, 5)))
    write(paths.stage("examples") / NAME / EXAMPLES_FILE, EXAMPLES, [])
    put_manifest(paths, "examples", {})
    labels = [LETTERS[f + (f == SHUFFLED)] for f in range(len(ids))]
    rows = [explanation(f, label) for f, label in enumerate(labels)]
    write(paths.stage("explain") / NAME / EXPLANATIONS_FILE, EXPLANATIONS, rows)
    put_manifest(paths, "explain", {})
    paths.stage("respond").mkdir()
    responses = {"shown": Responses(None).as_json(), "best_strengths": {NAME: {"6": 1.0}}}
    (paths.stage("respond") / RESPONSES_FILE).write_text(json.dumps(responses))
    put_manifest(paths, "respond", {})
    empty = {name: [] for name in ("raised", "raised_change", "lowered", "lowered_change")}
    effects = [{**empty, "index": f, "num_measured": 0, "num_readings": 0} for f in range(len(ids))]
    write(paths.stage("effects") / NAME / EFFECTS_FILE, EFFECTS, effects)
    put_manifest(paths, "effects", {})


def explanation(index: int, label: str) -> dict[str, object]:
    rule = Rule((Condition("here", "word", (label,)),)).to_json()
    empty = {name: [] for name in ("label_levels", "top_words", "promoted", "promoted_logits")}
    empty |= {"suppressed": [], "suppressed_logits": []}
    return {**empty, "index": index, "label": label, "label_origin": "statistics", "label_score": 0.5,
            "label_rule": rule, "label_tested": "held-out"}  # fmt: skip


def write(path: Path, schema: pa.Schema, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrow(path, schema, pa.Table.from_pylist(rows, schema).to_batches())


def recipe(**section: object) -> Recipe:
    return make_recipe(
        {
            "name": "planted",
            "corpus": {"source": "text", "path": "texts"},
            "model": {"name": "tiny", "source": "tiny", "layer": 0, "dtype": "float32"},
            "train": {"saes": [{"architecture": "relu", "num_features": 8}]},
            "examples": {"rare_tokens": 5},
            "score": {"samples": 60, "bands": 5, "context": 6, "planted": 5, "features": 7, **section},
        }
    )


@pytest.fixture
def scored(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    corpus = TokenizedCorpus(paths.stage("tokenize"))
    vocabulary = Tokenizer.load(paths.store.models / "tiny").token_bytes()
    ids = [vocabulary.index(letter.encode()) for letter in LETTERS]
    x_ND, index_N = residuals(corpus, ids)
    monkeypatch.setattr(score, "residual_blocks", lambda *args, **options: iter([ResidualBlock(x_ND, index_N)]))
    return paths


def test_right_labels_score_high_and_a_shuffled_one_low(scored: RunPaths) -> None:
    manifest = score.run(recipe(), scored)
    folder = scored.stage("score")
    rule, sentences, local = read_judges(folder)
    assert [rule.name, sentences.name, local.name] == ["rule", "sentences", "local"]
    assert sentences.why_none.startswith("The recipe names no sentence encoder")
    assert rule.trust.keys() == TASKS.keys()
    assert all(trust.separation == 1 for trust in rule.trust.values())
    assert local.num_features == 3
    assert local.trust["specificity"].num_labels <= 5
    found = read_arrow(folder / NAME / SCORES_FILE).to_pylist()
    by_rule = {(row["index"], TASK_NAMES[row["task"]]): row for row in found if row["judge"] == 0}
    scored_features = sorted({index for index, _ in by_rule})
    assert len(scored_features) == 7
    assert 6 in scored_features  # it responds
    for (index, task), row in by_rule.items():
        assert (
            row["value"] == (0.0 if task == "specificity" else pytest.approx(0.5, abs=0.5))
            if index == SHUFFLED
            else 1.0
        )
    assert manifest.counts["saes"][NAME]["num_features"] == 7


def test_samples_are_sorted_and_spread_evenly_over_the_range(scored: RunPaths) -> None:
    score.run(recipe(), scored)
    rows = read_arrow(scored.stage("score") / NAME / JUDGED_FILE).to_pylist()
    keys = [(row["index"], -row["band"], row["rank"]) for row in rows]
    assert keys == sorted(keys)
    counts = {index: np.bincount([r["band"] for r in rows if r["index"] == index]) for index, *_ in keys}
    assert all((found <= 12).all() and found[1:].min() > 6 for found in counts.values())
    assert all(row["answers"][1] is None for row in rows)
    assert sum(row["answers"][2] is not None for row in rows) == 3 * 20


def test_it_goes_on_where_a_judge_failed(scored: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.judges.local import LocalJudge

    asked: list[int] = []
    whole = LocalJudge._next_logits

    def counted(self: LocalJudge, rests: list[list[int]], beginning: object) -> torch.Tensor:
        if len(asked) == 1:
            raise RuntimeError("killed")
        asked.append(len(rests))
        return whole(self, rests, beginning)

    judges = [{"kind": "local", "tasks": ["detection"], "batch_tokens": 256}]
    monkeypatch.setattr(LocalJudge, "_next_logits", counted)
    with pytest.raises(RuntimeError):
        score.run(recipe(judges=judges), scored)
    monkeypatch.setattr(LocalJudge, "_next_logits", lambda s, r, b: (asked.append(len(r)), whole(s, r, b))[1])
    report = score.run(recipe(judges=judges), scored).counts["judges"][0]
    assert sum(asked) == report["questions"]


def test_nothing_is_scored_where_the_recipe_says_so(scored: RunPaths) -> None:
    counts = score.run(recipe(features=0), scored).counts
    assert {judge["why_none"] for judge in counts["judges"]} == {"No feature is scored."}
    assert len(read_arrow(scored.stage("score") / NAME / JUDGED_FILE)) == 0
