"""A recipe in which nothing is wrong, to be broken in one place after the other."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.layout import StorePaths
from pipeline.preflight.check import find_deeper, find_problems
from pipeline.preflight.model import look_at_model
from pipeline.recipe import ReadRecipe, make_recipe

Find = Callable[..., list[str]]


@pytest.fixture
def model(saved_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_model, tmp_path / "model"))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.txt").write_text(f"Text number {number} of some.")
    return folder


@pytest.fixture
def find(store: StorePaths, model: Path, texts: Path) -> Find:
    """Problems of the recipe with some sections changed; nothing is written while they are sought."""

    def find_in(**sections: dict[str, Any]) -> list[str]:
        raw: dict[str, Any] = {
            "name": "test",
            "corpus": {"source": "text", "path": str(texts), "held_out_fraction": 0.3},
            "model": {"name": "tiny", "source": str(model), "layer": 1, "dtype": "float32"},
            "tokenize": {"context_length": 64},
            "train": {"batch_size": 16, "saes": [{"architecture": "relu", "num_features": 8}]},
        }
        for name, values in sections.items():
            raw[name] = {**raw.get(name, {}), **values}
        there = store.root.exists()
        read = ReadRecipe(make_recipe(raw), [], frozenset())
        paths = store.run("test")
        with look_at_model(read, store) as looked:
            found = find_problems(read, paths, looked) or find_deeper(read, paths, looked)
        assert store.root.exists() == there, "the check writes nothing"
        return found

    return find_in
