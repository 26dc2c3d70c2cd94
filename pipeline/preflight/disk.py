"""Room: what a recipe will write, against what is free where the store lies."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from data.artifacts.corpus import TOKEN
from data.artifacts.shards import ROW
from data.errors import MonosemaError
from data.layout import RunPaths
from data.manifests import find_stage, load_manifest
from pipeline.corpus import corpus_files
from pipeline.preflight.model import ModelFound
from pipeline.recipe import ReadRecipe, Recipe

BYTES_OF_A_VALUE = {"bfloat16": 2, "int8": 1}
WEIGHT_BYTES = 4
TRAINING_BYTES = 16
"""float32 weight, gradient and Adam's two moments."""
CHECKPOINT_BYTES = 12
"""The same without the gradient."""
TEXT_BYTES_OF_A_TOKEN = 4
PACKED_SUFFIXES, PACKED = (".gz", ".zst", ".xz", ".parquet"), 3
"""Compressed files, and how many times as long their text is, about."""


class Needs(NamedTuple):
    """What a recipe will write, in bytes, and why; as far as it is known."""

    tokens: int | None
    """For training."""
    tokens_are_estimated: bool
    """From the size of the corpus."""
    token_bytes: int
    rows: int
    """Of activations that are stored."""
    activation_bytes: int
    sae_parameters: tuple[int, ...]

    @property
    def sae_bytes(self) -> int:
        """Weights, their published copy and the checkpoint of their training."""
        return sum(self.sae_parameters) * (2 * WEIGHT_BYTES + CHECKPOINT_BYTES)


def read_needs(recipe: Recipe, paths: RunPaths, width: int | None) -> Needs:
    """The needs of a recipe. width: of the model's residual stream, where it is known."""
    tokens, estimated = count_tokens(recipe, paths)
    rows = round((tokens or 0) * recipe.harvest.keep_fraction)
    row_bytes = 0 if width is None else width * BYTES_OF_A_VALUE[recipe.harvest.storage] + ROW.itemsize
    parameters = () if width is None else tuple(
        2 * width * sae.num_features + 2 * sae.num_features + width for sae in recipe.saes
    )  # fmt: skip
    return Needs(tokens, estimated, (tokens or 0) * TOKEN.itemsize, rows, rows * row_bytes, parameters)


def count_tokens(recipe: Recipe, paths: RunPaths) -> tuple[int | None, bool]:
    """Training tokens: as tokenized by this recipe, or its limit, or by the size of the corpus; and whether the last.

    None where none of these is known.
    """
    limit = recipe.tokenize.max_tokens
    try:
        manifest = load_manifest(paths.stage("tokenize"))
        if manifest.config["tokenize"] == recipe.tokenize.model_dump(mode="json"):
            return int(manifest.counts["num_tokens"]), False
    except MonosemaError:
        pass
    estimate = _estimate_tokens(recipe)
    if estimate is None or (limit is not None and limit <= estimate):
        return limit, False
    return estimate, True


def _estimate_tokens(recipe: Recipe) -> int | None:
    if recipe.corpus.source == "sample":
        return None
    try:
        files = corpus_files(recipe.corpus)
        text_bytes = sum(_text_bytes(file) for file in files)
    except (MonosemaError, OSError):
        return None
    return round(text_bytes / TEXT_BYTES_OF_A_TOKEN) if files else None


def _text_bytes(file: Path) -> int:
    return file.stat().st_size * (PACKED if file.suffix in PACKED_SUFFIXES else 1)


def disk_problems(read: ReadRecipe, paths: RunPaths, model: ModelFound) -> list[str]:
    """What keeps the store from being written, or from holding what the recipe makes."""
    place = standing(paths.store.root)
    if not place.is_dir():
        return [f"{place} is a file, not a folder: choose another --store"]
    if not os.access(place, os.W_OK | os.X_OK):
        return [f"{place} cannot be written: make it writable, or choose another --store"]
    if not read.gives("model", "corpus", "tokenize", "harvest", "train", "imports"):
        return []
    parts = _parts(read.recipe, paths, model)
    needed, free = sum(size for _, size in parts), shutil.disk_usage(place).free
    if needed <= free:
        return []
    listed = ", ".join(f"{name} {gigabytes(size)}" for name, size in parts if size)
    return [
        f"this recipe needs about {gigabytes(needed)} on disk ({listed}), there are {gigabytes(free)} free at {place}: "
        "make room, choose --store on a larger disk, set harvest.storage=int8, or lower harvest.keep_fraction or "
        "tokenize.max_tokens"
    ]


def _parts(recipe: Recipe, paths: RunPaths, model: ModelFound) -> list[tuple[str, int]]:
    """What is still to be written, by name."""
    parts = [(one, paths.store.run(one.name)) for one in recipe.by_place()]
    needs = [read_needs(one, of_one, model.number("hidden_size")) for one, of_one in parts]
    return [
        ("model", model.bytes_to_fetch),
        ("tokens", needs[0].token_bytes),
        ("activations", sum(_to_harvest(*part, of_part) for part, of_part in zip(parts, needs, strict=True))),
        ("autoencoders", sum(of_part.sae_bytes for of_part in needs)),
    ]


def _to_harvest(recipe: Recipe, paths: RunPaths, needs: Needs) -> int:
    """Bytes of the activations that are not there yet."""
    harvest = find_stage(paths, "harvest")
    if harvest is not None and harvest.config.get("harvest") == recipe.harvest.model_dump():
        return 0
    begun = _bytes_below(paths.partial("harvest").glob("*")) if paths.partial("harvest").is_dir() else 0
    return max(0, needs.activation_bytes - begun)


def _bytes_below(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())


def standing(path: Path) -> Path:
    """The path, or the nearest above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())


def gigabytes(number: float) -> str:
    """In GB of 10^9 bytes, MB below 1."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"
