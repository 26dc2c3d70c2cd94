"""The tokenized corpus against the documents themselves; a killed run ends with the same bytes."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.artifacts.corpus import TokenizedCorpus, describe_limits, document_id, is_held_out
from data.errors import CorpusError
from data.layout import StorePaths
from data.manifests import Manifest
from pipeline.corpus import jsonl, tokenization
from pipeline.corpus.drawing import number_of
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import Recipe, make_recipe
from pipeline.stages import fetch, tokenize
from tests.support.killing import kill_tokenization
from tests.support.models import save_tiny_model

TEXTS = [f"Document {n} says <|im_start|> é{'x ' * (n * 7 % 60)}\n" for n in range(60)]


@pytest.fixture(scope="module")
def model(saved_model: Path) -> Path:
    return saved_model


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


def test_a_model_without_bos_reads_a_document_from_its_own_first_token(
    store: StorePaths, tmp_path: Path, corpus: Path
) -> None:
    folder = tmp_path / "without"
    save_tiny_model(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["bos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    corpus.write_text(corpus.read_text() + json.dumps({"text": "x"}) + "\n")
    counts = run(recipe_of(folder, corpus), store).counts
    encoded = Tokenizer.load(folder).encode_batch(TEXTS)
    pieces = [(d, s, min(31, len(e) - s)) for d, e in enumerate(encoded) for s in range(1, len(e), 31)]
    assert opened(store).sequences.tolist() == pieces
    assert counts["bos_id"] is None
    assert counts["num_split_documents"] == sum(len(ids) > 32 for ids in encoded) > 0
    assert counts["num_empty_documents"] == 1, "a single token opens nothing"


@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_a_killed_run_ends_with_the_same_bytes(
    tmp_path: Path, model: Path, corpus: Path, kill_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "BATCH_DOCUMENTS", 7)
    recipe = recipe_of(model, corpus, tokenize={"max_tokens": 900, "max_held_out_tokens": 100})
    whole = run(recipe, StorePaths(tmp_path / "whole"))
    assert whole.counts["num_left_out_documents"] > 0

    store = StorePaths(tmp_path / "killed")
    batches = kill_tokenization(monkeypatch, kill_at)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, store)
    batches.append(0)
    killed = run(recipe, store)
    assert killed.files == whole.files
    assert killed.counts == whole.counts


def lengths(model: Path) -> dict[int, tuple[bool, int]]:
    """Whether each document of the corpus is held out, and its tokens, by id."""
    ids = [document_id("jsonl", f"corpus.jsonl:{n + 1}") for n in range(len(TEXTS))]
    encoded = Tokenizer.load(model).encode_batch(TEXTS)
    return {one: (is_held_out(one, 0.2), len(tokens)) for one, tokens in zip(ids, encoded, strict=True)}


def until(limit: int, documents: list[int], tokens: dict[int, int]) -> set[int]:
    """The first documents that reach a limit together."""
    taken: list[int] = []
    for document in documents:
        if sum(tokens[one] for one in taken) < limit:
            taken.append(document)
    return set(taken)


@pytest.mark.parametrize("batch", [1, 7, 512])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_limit_takes_a_random_sample_of_documents(
    store: StorePaths, model: Path, corpus: Path, batch: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "BATCH_DOCUMENTS", batch)
    limits = {"max_tokens": 500, "max_held_out_tokens": 60}
    recipe = recipe_of(model, corpus, tokenize=limits).model_copy(update={"seed": seed})
    counts = run(recipe, store).counts
    known = lengths(model)
    tokens = {document: length for document, (_, length) in known.items()}
    drawn = sorted(known, key=lambda document: number_of(document, seed))
    expected = {
        held_out: until(limit, [one for one in drawn if known[one][0] is held_out], tokens)
        for held_out, limit in ((False, 500), (True, 60))
    }
    found = opened(store)
    assert [one for one in known if one in expected[False] | expected[True]] == found.document_ids.tolist()
    assert set(found.document_ids[found.held_out].tolist()) == expected[True]
    assert counts["num_left_out_documents"] == len(TEXTS) - len(found.documents)
    assert counts["num_corpus_documents"] == len(TEXTS)
    assert counts["limits"] == list(limits)
    assert counts["num_corpus_tokens"] == pytest.approx(sum(tokens.values()), rel=0.1)
    first = until(500, [one for one in known if not known[one][0]], tokens)
    assert expected[False] != first, "not the first ones"


def test_what_a_limit_left_out_is_said(
    store: StorePaths, model: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = run(recipe_of(model, corpus, tokenize={"max_tokens": 500}), store).counts
    documents = counts["num_documents"] + counts["num_held_out_documents"]
    said = capsys.readouterr().err
    assert f"read {documents} of 60 documents, drawn at random" in said
    assert "(limit tokenize.max_tokens)" in said
    run(recipe_of(model, corpus), store)
    run(recipe_of(model, corpus, tokenize={"max_tokens": 10_000_000}), store)
    assert "limit" not in capsys.readouterr().err


@pytest.mark.parametrize(("room", "least", "most"), [(0, 1, 1), (300, 0, 1), (1_000_000, 0, 0)])
def test_what_the_draw_has_tokenized_is_not_tokenized_again(
    room: int, least: int, most: int, store: StorePaths, model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """least, most: shares of what is taken that is tokenized again."""
    read: list[str] = []
    encode = Tokenizer.encode_batch
    monkeypatch.setattr(tokenization, "KEPT_TOKENS", room)
    monkeypatch.setattr(Tokenizer, "encode_batch", lambda self, texts: (read.extend(texts), encode(self, texts))[1])
    counts = run(recipe_of(model, corpus, tokenize={"max_tokens": 500, "max_held_out_tokens": 60}), store).counts
    found, taken = opened(store), counts["num_documents"] + counts["num_held_out_documents"]
    assert least * taken <= len(read) - len(set(read)) <= most * taken
    tokens = {document: length for document, (_, length) in lengths(model).items()}
    assert found.lengths.tolist() == [tokens[one] for one in found.document_ids.tolist()]


def test_a_seed_decides_what_is_drawn(store: StorePaths, model: Path, corpus: Path) -> None:
    recipe = recipe_of(model, corpus, tokenize={"max_tokens": 500})
    found = [run(recipe.model_copy(update={"seed": seed}), store).files["tokens.bin"] for seed in (0, 1, 0)]
    assert found[0] == found[2] != found[1]


def test_without_limits_the_key_is_what_it_was(store: StorePaths, model: Path, corpus: Path) -> None:
    assert "sample" not in run(recipe_of(model, corpus), store).config


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_limits_of_a_stream_keep_the_document_that_reaches_them(
    store: StorePaths, model: Path, corpus: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "BATCH_DOCUMENTS", batch)
    monkeypatch.setattr(jsonl.JsonLines, "streamed", True)
    recipe = recipe_of(model, corpus, tokenize={"max_tokens": 500, "max_held_out_tokens": 60})
    counts = run(recipe, store).counts
    assert "read the first" in describe_limits(counts)
    assert "the corpus is streamed" in describe_limits(counts)
    expected = {False: [], True: []}
    for n, ids in enumerate(Tokenizer.load(model).encode_batch(TEXTS)):
        kind = is_held_out(document_id("jsonl", f"corpus.jsonl:{n + 1}"), 0.2)
        if sum(expected[kind]) < (60 if kind else 500):
            expected[kind].append(len(ids))
    assert counts["num_tokens"] == sum(expected[False])
    assert counts["num_held_out_tokens"] == sum(expected[True])
    assert opened(store).held_out.sum() == len(expected[True])


def test_a_training_limit_alone_ends_the_reading_of_a_stream(
    store: StorePaths, model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl.JsonLines, "streamed", True)
    counts = run(recipe_of(model, corpus, tokenize={"max_tokens": 500}), store).counts
    assert counts["num_left_out_documents"] == 0
    assert counts["num_documents"] < len(TEXTS)


def test_a_training_limit_alone_takes_the_same_share_of_held_out_documents(
    store: StorePaths, model: Path, corpus: Path
) -> None:
    run(recipe_of(model, corpus, tokenize={"max_tokens": 500}), store)
    found, known = opened(store), lengths(model)
    highest = max(number_of(one, 0) for one in found.document_ids[~found.held_out].tolist())
    held_out = {one for one, (is_held, _) in known.items() if is_held and number_of(one, 0) < highest}
    assert held_out <= set(found.document_ids[found.held_out].tolist())


def test_empty_and_repeated_documents_are_passed_over_and_counted(
    store: StorePaths, model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.write_text(corpus.read_text() + '{"text": ""}\n{"text": " \\n"}\n{"text": null}\n')
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


def test_items_are_made_ahead_in_order_and_what_stops_them_is_raised_in_its_place() -> None:
    def items() -> Iterator[list[int]]:
        yield from ([], [1], [2])
        raise CorpusError("the end")

    ones, taken = tokenization.ahead(items()), []
    with pytest.raises(CorpusError, match="the end"):
        taken.extend(ones)
    assert taken == [[], [1], [2]]
    assert list(tokenization.ahead(iter([[3], [4]]))) == [[3], [4]]


def test_who_stops_does_not_wait_for_the_item_that_is_being_made() -> None:
    """A corpus whose stream stalls behind its first document."""
    forever, ended = threading.Event(), threading.Event()

    def items() -> Iterator[list[int]]:
        yield [1]
        forever.wait(60)
        yield [2]
        yield [3]
        ended.set()

    ones = tokenization.ahead(items())
    assert next(ones) == [1]
    ones.close()
    forever.set()
    for thread in threading.enumerate():
        if thread.name == "read ahead":
            thread.join(60)
    assert not ended.is_set()
