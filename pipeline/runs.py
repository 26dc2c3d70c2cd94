"""A whole run: its stages in order, and how a run with nothing left to do sees that in an instant.

Stage modules import torch and take seconds to load. So a complete run leaves a receipt (the recipe, the code, the keys
of all artifacts), and the next run of the same recipe by the same code only checks that all artifacts are still intact.
"""

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import data
import pipeline
from data.errors import ConfigError
from data.layout import RunPaths
from data.manifests import Manifest, digest, find_stage
from pipeline.completeness.lists import load_lists
from pipeline.progress import format_seconds, log
from pipeline.stages import STAGES

if TYPE_CHECKING:
    from pipeline.recipe import ReadRecipe, Recipe


def run_checked(
    read: "ReadRecipe", paths: RunPaths, until: str = STAGES[-1], trial: Callable[[], None] | None = None
) -> None:
    """Run the stages of a recipe in which nothing is wrong.

    trial: called before any work, too, once nothing is; it may raise. Raises PreflightError when something is wrong.
    """
    if read.problems or not is_complete(read.recipe, paths):
        _check(read, paths)
        if trial is not None:
            trial()
    run_stages(read.recipe, paths, until)


def run_checked_stage(name: str, read: "ReadRecipe", paths: RunPaths) -> Manifest:
    """Run one stage of a recipe in which nothing is wrong. Raises PreflightError, before work, when something is."""
    _check(read, paths)
    return run_stage(name, read.recipe, paths)


def _check(read: "ReadRecipe", paths: RunPaths) -> None:
    from pipeline.preflight.check import refuse_unfit  # here, for `serve` needs none of it

    refuse_unfit(read, paths)


def run_stages(recipe: "Recipe", paths: RunPaths, until: str = STAGES[-1]) -> None:
    """Run the stages up to and including `until`; those that stand already do nothing."""
    if is_complete(recipe, paths):
        log(f"run '{paths.run}' is complete already")
        return
    names = STAGES[: STAGES.index(until) + 1]
    manifests = {name: run_stage(name, recipe, paths) for name in names}
    if until == STAGES[-1]:
        _write_receipt(recipe, paths, manifests)


def run_stage(name: str, recipe: "Recipe", paths: RunPaths) -> Manifest:
    """Run one stage and say what came of it. Raises MonosemaError or ModelError."""
    before = find_stage(paths, name)
    imports = name == "train" and bool(recipe.imports.saes)
    stage = importlib.import_module(f"pipeline.stages.{'imports' if imports else name}")
    manifest: Manifest = stage.run(recipe, paths)
    state = "stands already" if manifest == before else f"done in {format_seconds(manifest.seconds)}"
    log(f"[{STAGES.index(name) + 1}/{len(STAGES)}] {'import' if imports else name}: {state}")
    return manifest


def is_complete(recipe: "Recipe", paths: RunPaths) -> bool:
    """Whether this recipe was run to the end by this code, and all of it is intact and published."""
    from data.published.state import is_intact, is_visible
    from pipeline.stages import fetch

    receipt = _read_receipt(paths)
    if receipt is None or receipt["run"] != _run_digest(recipe):
        return False
    keys: dict[str, str] = receipt["keys"]
    manifests = {name: find_stage(paths, name) for name in STAGES}
    if any(manifest is None or manifest.key != keys[name] for name, manifest in manifests.items()):
        return False
    if not fetch.is_current(recipe, paths, keys["fetch"]) or not _imports_are_current(recipe, manifests, keys):
        return False
    return is_intact(paths.published(keys["publish"])) and is_visible(paths, keys["publish"])


def _imports_are_current(recipe: "Recipe", manifests: Mapping[str, Manifest | None], keys: Mapping[str, str]) -> bool:
    """Whether the files of imported SAEs are those that were read."""
    if not recipe.imports.saes:
        return True
    from pipeline.stages.imports import STAGE

    inputs = {name: manifest for name in STAGE.needs if (manifest := manifests[name]) is not None}
    return STAGE.key(recipe, inputs) == keys["train"]


def _write_receipt(recipe: "Recipe", paths: RunPaths, manifests: dict[str, Manifest]) -> None:
    keys = {name: manifest.key for name, manifest in manifests.items()}
    temporary = paths.receipt.with_suffix(".new")
    temporary.write_text(json.dumps({"run": _run_digest(recipe), "keys": keys}))
    temporary.replace(paths.receipt)


def _read_receipt(paths: RunPaths) -> dict[str, Any] | None:
    try:
        receipt: dict[str, Any] = json.loads(paths.receipt.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return receipt if set(receipt) == {"run", "keys"} and set(receipt["keys"]) == set(STAGES) else None


def _run_digest(recipe: "Recipe") -> str:
    return digest({"recipe": recipe.model_dump(mode="json"), "code": _code_digest(), "lists": _list_digests(recipe)})


def _list_digests(recipe: "Recipe") -> dict[str, str] | None:
    """The content of the lists of concepts; None where one cannot be read, of which the check before a run says why."""
    try:
        return {one.name: one.content.digest for one in load_lists(recipe.completeness.lists)}
    except ConfigError:
        return None


@cache
def _code_digest() -> str:
    """Changes with any line of the code that makes artifacts."""
    sha = hashlib.sha256()
    for package in (data, pipeline):
        assert package.__file__ is not None
        root = Path(package.__file__).parent
        for file in sorted(root.rglob("*.py")):
            sha.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return sha.hexdigest()
