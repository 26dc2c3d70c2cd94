"""Whole runs and their checks on corpora as people bring them: one held-out token, six books, copies."""

from pathlib import Path
from typing import Any

import pytest

from data.artifacts.corpus import document_id, is_held_out
from data.artifacts.features import TOP
from data.layout import StorePaths
from data.manifests import load_manifest
from data.published.metrics import with_interval
from data.published.state import Published, open_published
from data.published.tables import PublishedRun
from pipeline.doctor.doctor import Doctor
from pipeline.influence import showpieces
from pipeline.recipe import Recipe, make_recipe
from pipeline.runs import run_stages

HELD_OUT = 0.2
SAE = "1-batchtopk-32"


@pytest.fixture(scope="module")
def model(saved_model: Path) -> Path:
    return saved_model


def recipe_of(model: Path, texts: Path, **corpus: Any) -> Recipe:
    return make_recipe(
        {
            "name": "test",
            "corpus": {"source": "text", "path": str(texts), "held_out_fraction": HELD_OUT, **corpus},
            "model": {"name": "tiny", "source": str(model), "layer": 1, "dtype": "float32"},
            "tokenize": {"context_length": 64},
            "harvest": {"num_shards": 2},
            "train": {"batch_size": 64, "saes": [{"architecture": "batchtopk", "num_features": 32, "k": 4}]},
            "examples": {"rare_tokens": 5},
            "effects": {"features": 0},
            "respond": {"candidates": 4, "tried": 2, "written": 1, "tried_tokens": 2, "new_tokens": 2},
            "strengths": {"features": 2, "strengths": [1, 2], "text_strengths": [1], "positions": 2, "new_tokens": 2},
        }
    )


def publish(recipe: Recipe, store: StorePaths) -> Published:
    run_stages(recipe, store.run("test"))
    published = open_published(store, "test")
    failed = [check for check in Doctor(store, published).checks(deep=True) if not check.holds]
    assert failed == []
    return published


def names(count: int, *, held_out: bool) -> list[str]:
    """Names of files that are held out, or are not."""
    numbered = (f"{number}.txt" for number in range(10_000))
    wanted = (name for name in numbered if is_held_out(document_id("text", name), HELD_OUT) is held_out)
    return [next(wanted) for _ in range(count)]


def top_examples(published: Published) -> list[list[dict[str, Any]]]:
    """Of every feature."""
    run = PublishedRun(published.folder)
    features = run.take("features", range(32), ["first_example", "num_examples"]).to_pylist()
    return [run.examples(one["first_example"], one["num_examples"], TOP).to_pylist() for one in features]


def test_one_held_out_token(model: Path, store: StorePaths, tmp_path: Path) -> None:
    for number, name in enumerate(names(20, held_out=False)):
        (tmp_path / name).write_text(f"Text {number} says nothing of note. " * (1 + number % 4))
    (tmp_path / names(1, held_out=True)[0]).write_text("x")
    metrics = publish(recipe_of(model, tmp_path), store).record.saes[0].metrics
    assert (metrics["num_tokens"], metrics["num_ce_tokens"]) == (1, 1)
    assert metrics["explained_variance"] is None
    assert metrics["l0"] is not None
    assert "±" not in (with_interval(metrics, "loss_added") or "")


def test_six_books_have_twenty_examples_each_of_another_part(
    model: Path, store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"MIN_LETTERS": 1, "MAX_DENSITY": 1.0, "MIN_AGREEMENT": 0.2}.items():
        monkeypatch.setattr(showpieces, name, value)  # the words of this model are single letters
    for number in range(6):
        lines = [f"Line {line} of book {number} tells of {line * 7919 % 104729}.\n" for line in range(200)]
        (tmp_path / f"book {number}.txt").write_text("".join(lines))
    published = publish(recipe_of(model, tmp_path, max_document_characters=400), store)
    counts = load_manifest(store.run("test").stage("tokenize")).counts
    assert counts["num_cut_documents"] == 6
    assert counts["num_held_out_documents"] > 5
    tops = top_examples(published)
    assert max(map(len, tops)) == 20
    assert all(len({one["document"] for one in examples}) == len(examples) for examples in tops)
    assert published.record.showpieces
    assert all(len(tops[piece["index"]]) >= showpieces.MIN_EXAMPLES for piece in published.record.showpieces)


def test_a_paragraph_in_forty_documents_is_one_example(model: Path, store: StorePaths, tmp_path: Path) -> None:
    paragraph = "Sign up for our free weekly letter, and read what nobody else dares to print!"
    for number, name in enumerate(names(40, held_out=False)):
        (tmp_path / name).write_text(f"{number * 7919} words of text number {number} stand here. {paragraph} {number}")
    for number, name in enumerate(names(6, held_out=True)):
        (tmp_path / name).write_text(f"{number * 7919} other words, {number} of them. {paragraph}")
    published = publish(recipe_of(model, tmp_path), store)
    assert max(one["repeats"] for examples in top_examples(published) for one in examples) == 39
    for examples in top_examples(published):
        assert len({one["document"] for one in examples}) == len(examples)
        assert sum(one["repeats"] + 1 for one in examples) >= len(examples)
