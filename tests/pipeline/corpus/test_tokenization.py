"""The tokenized corpus against the documents themselves; a killed run ends with the same bytes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.artifacts.corpus import TokenizedCorpus, document_id, is_held_out
from data.errors import CorpusError
from data.layout import StorePaths
from data.manifests import Manifest
from pipeline.corpus import tokenization
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import Recipe, make_recipe
from pipeline.stages import fetch, tokenize
from tests.support.models import save_tiny_model

TEXTS = [f"Document {n} says <|im_start|> é{'x ' * (n * 7 % 60)}\n" for n in range(60)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text, "n": n}) + "\n" for n, text in enumerate(TEXTS)))
    return path


def recipe_of(model: Path, corpus: Path, /, **sections: dict[str, Any]) -> Recipe:
    raw: dict[str, dict[str, Any]] = {
        "corpus": {"source": "jsonl", "path": str(corpus), "held_out_fraction": 0.2},
        "model": {"name": "tiny", "source": str(model), "layer": 1, "dtype": "float32"},
        "tokenize": {"context_length": 32},
        "train": {"batch_size": 16, "saes": [{"architecture": "relu", "num_features": 8}]},
    }
    for name, fields in sections.items():
        raw[name] = {**raw[name], **fields}
    return make_recipe({"name": "test", **raw})


def run(recipe: Recipe, store: StorePaths) -> Manifest:
    fetch.run(recipe, store.run("test"))
    return tokenize.run(recipe, store.run("test"))


def opened(store: StorePaths) -> TokenizedCorpus:
    return TokenizedCorpus(store.run("test").stage("tokenize"))


def test_every_token_of_every_document_stands_in_a_sequence(store: StorePaths, model: Path, corpus: Path) -> None:
    counts = run(recipe_of(model, corpus), store).counts
    tokenized, tokenizer = opened(store), Tokenizer.load(model)
    encoded = tokenizer.encode_batch(TEXTS)
    assert tokenized.tokens.tolist() == [token for ids in encoded for token in ids]
    rows = tokenized.documents.to_pylist()
    assert [row["num_tokens"] for row in rows] == [len(ids) for ids in encoded]
    assert [json.loads(row["meta"]) for row in rows] == [{"n": n} for n in range(60)]
    ids = [document_id("jsonl", f"corpus.jsonl:{n + 1}") for n in range(60)]
    assert [row["document_id"] for row in rows] == ids
    assert [row["held_out"] for row in rows] == [is_held_out(document, 0.2) for document in ids]

    pieces = [(d, s, min(31, len(e) - s)) for d, e in enumerate(encoded) for s in range(0, len(e), 31)]
    assert tokenized.sequences.tolist() == pieces
    assert counts["num_sequences"] == len(pieces)
    assert counts["num_split_documents"] == sum(len(ids) > 31 for ids in encoded) > 0
    assert counts["num_tokens"] + counts["num_held_out_tokens"] == len(tokenized.tokens)
    assert counts["bos_id"] == tokenizer.bos_id
    assert tokenizer.bos_id not in tokenized.tokens


@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_a_killed_run_ends_with_the_same_bytes(
    tmp_path: Path, model: Path, corpus: Path, kill_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "BATCH_DOCUMENTS", 7)
    recipe = recipe_of(model, corpus, tokenize={"max_tokens": 900, "max_held_out_tokens": 100})
    whole = run(recipe, StorePaths(tmp_path / "whole"))
    assert whole.counts["num_left_out_documents"] > 0

    store = StorePaths(tmp_path / "killed")
    monkeypatch.setattr(tokenization, "CHECKPOINT_SECONDS", 0.0)
    take, batches = tokenization.Tokenization.take, []

    def take_until_killed(self: tokenization.Tokenization, documents: list[Any]) -> int:
        taken = take(self, documents)
        batches.append(len(documents))
        if len(batches) == kill_at:
            raise KeyboardInterrupt
        return taken

    monkeypatch.setattr(tokenization.Tokenization, "take", take_until_killed)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, store)
    batches.append(0)
    killed = run(recipe, store)
    assert killed.files == whole.files
    assert killed.counts == whole.counts


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_limits_keep_the_document_that_reaches_them(
    store: StorePaths, model: Path, corpus: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "BATCH_DOCUMENTS", batch)
    recipe = recipe_of(model, corpus, tokenize={"max_tokens": 500, "max_held_out_tokens": 60})
    counts = run(recipe, store).counts
    expected = {False: [], True: []}
    for n, ids in enumerate(Tokenizer.load(model).encode_batch(TEXTS)):
        kind = is_held_out(document_id("jsonl", f"corpus.jsonl:{n + 1}"), 0.2)
        if sum(expected[kind]) < (60 if kind else 500):
            expected[kind].append(len(ids))
    assert counts["num_tokens"] == sum(expected[False])
    assert counts["num_held_out_tokens"] == sum(expected[True])
    assert opened(store).held_out.sum() == len(expected[True])


def test_a_training_limit_alone_ends_the_reading(store: StorePaths, model: Path, corpus: Path) -> None:
    counts = run(recipe_of(model, corpus, tokenize={"max_tokens": 500}), store).counts
    assert counts["num_left_out_documents"] == 0
    assert counts["num_documents"] < len(TEXTS)


def test_empty_and_repeated_documents_are_passed_over_and_counted(
    store: StorePaths, model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.write_text(corpus.read_text() + '{"text": ""}\n{"text": " \\n"}\n{"text": null}\n')
    from pipeline.corpus import jsonl

    read = jsonl.JsonLines.documents
    monkeypatch.setattr(jsonl.JsonLines, "documents", lambda self, state=None: [*read(self, state)] * 2)
    monkeypatch.setattr(tokenization, "batches", lambda documents: [documents])
    counts = run(recipe_of(model, corpus), store).counts
    found = [counts[f"num_{kind}documents"] for kind in ("", "held_out_", "duplicate_", "empty_")]
    assert (found[0] + found[1], found[2], found[3]) == (60, 60, 6)


def test_a_changed_file_makes_a_new_artifact(store: StorePaths, model: Path, corpus: Path) -> None:
    recipe = recipe_of(model, corpus)
    first = run(recipe, store)
    assert run(recipe, store) == first
    corpus.write_text(corpus.read_text() + '{"text": "one more"}\n')
    run(recipe, store)
    assert len(opened(store).documents) == len(TEXTS) + 1


@pytest.mark.parametrize(
    ("texts", "sections", "message"),
    [
        (["", " "], {}, r"is empty: 2 documents without text"),
        (
            ["a b c"] * 9,
            {"train": {"batch_size": 1000}},
            r"fewer than one training batch of 1,000: give more text, or set",
        ),
        (
            ["some words"] * 9,
            {"corpus": {"held_out_fraction": 0.001}},
            r"set corpus\.held_out_fraction=0\.\d+, which would",
        ),
        (["only one"], {"corpus": {"held_out_fraction": 0.0}}, r"give more documents"),
        (
            ["words " * 9] * 9,
            {"tokenize": {"max_tokens": 5}, "corpus": {"held_out_fraction": 1e-9}},
            "max_held_out_tokens",
        ),
    ],
)
def test_too_little(
    store: StorePaths, model: Path, corpus: Path, texts: list[str], sections: dict[str, Any], message: str
) -> None:
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    with pytest.raises(CorpusError, match=message):
        run(recipe_of(model, corpus, **sections), store)
    assert not store.run("test").stage("tokenize").exists()


def test_the_stored_types_are_those_of_the_contract(store: StorePaths, model: Path, corpus: Path) -> None:
    run(recipe_of(model, corpus), store)
    assert opened(store).tokens.dtype == np.uint32
    assert opened(store).sequences.dtype.names == ("document", "start", "length")
