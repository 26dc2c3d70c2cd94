"""A whole run: its stages in order, and how a run with nothing left to do sees that in an instant.

Stage modules import torch and take seconds to load. So a complete run leaves a receipt (the recipe, the code, the keys
of all artifacts), and the next run of the same recipe by the same code only checks that all artifacts are still intact.
"""

import hashlib
import importlib
import json
import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import data
import pipeline
from data.errors import ArtifactError
from data.layout import RunPaths
from data.manifests import Manifest, digest, find_stage
from pipeline.progress import format_seconds, log
from pipeline.stages import STAGES

if TYPE_CHECKING:
    from pipeline.recipe import ReadRecipe, Recipe


BESIDE = {"explain": "project"}
"""Stages that keep one core busy, by the stage beside which they run, which leaves some idle."""


def run_checked(read: "ReadRecipe", paths: RunPaths, until: str = STAGES[-1]) -> None:
    """Run the stages of a recipe in which nothing is wrong.

    Raises PreflightError, before any work, when something is.
    """
    if read.problems or not is_complete(read.recipe, paths):
        from pipeline.preflight.check import refuse_unfit

        refuse_unfit(read, paths)
    run_stages(read.recipe, paths, until)


def run_stages(recipe: "Recipe", paths: RunPaths, until: str = STAGES[-1]) -> None:
    """Run the stages up to and including `until`; those that stand already do nothing."""
    if is_complete(recipe, paths):
        log(f"run '{paths.run}' is complete already")
        return
    names = STAGES[: STAGES.index(until) + 1]
    manifests = {}
    with Beside(recipe, paths) as beside:
        for name in names:
            if name in BESIDE and BESIDE[name] in names:
                beside.start(BESIDE[name])
            manifests[name] = _run(name, recipe, paths, beside)
    if until == STAGES[-1]:
        _write_receipt(recipe, paths, manifests)


def run_stage(name: str, recipe: "Recipe", paths: RunPaths) -> Manifest:
    """Run one stage and say what came of it. Raises MonosemaError or ModelError."""
    return _run(name, recipe, paths)


def _run(name: str, recipe: "Recipe", paths: RunPaths, beside: "Beside | None" = None) -> Manifest:
    before = find_stage(paths, name)
    begun = beside is not None and beside.has(name)
    manifest: Manifest = beside.finish(name) if beside and begun else _module(name).run(recipe, paths)
    state = "stands already" if manifest == before else f"done in {format_seconds(manifest.seconds)}"
    log(f"[{STAGES.index(name) + 1}/{len(STAGES)}] {name}: {state}")
    return manifest


class Beside:
    """Stages that run beside others, each in a process of its own. A context manager: leaving it ends them."""

    def __init__(self, recipe: "Recipe", paths: RunPaths) -> None:
        self._recipe, self._paths = recipe, paths
        self._begun: dict[str, Future[tuple[Manifest, str]]] = {}
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def start(self, name: str) -> None:
        """Begin a stage whose inputs are there, unless its artifact stands."""
        if not _module(name).STAGE.stands(self._recipe, self._paths):
            self._pool = self._pool or ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            self._begun[name] = self._pool.submit(_run_quietly, name, self._recipe, self._paths)

    def has(self, name: str) -> bool:
        """Whether a stage was begun."""
        return name in self._begun

    def finish(self, name: str) -> Manifest:
        """Wait for a stage that was begun, and print what it had to say. Raises what the stage raised."""
        try:
            manifest, lines = self._begun.pop(name).result()
        except BrokenProcessPool:
            raise ArtifactError(
                f"the process of stage '{name}' was ended from outside, perhaps for want of memory: run the same "
                "command again"
            ) from None
        if lines:
            log(lines.rstrip())
        return manifest


def _run_quietly(name: str, recipe: "Recipe", paths: RunPaths) -> tuple[Manifest, str]:
    """Run a stage in this process, which has no say on the terminal: its lines are returned, or printed if it fails."""
    lines = StringIO()
    try:
        with redirect_stderr(lines):
            return _module(name).run(recipe, paths), lines.getvalue()
    except BaseException:
        log(lines.getvalue().rstrip())
        raise


def _module(name: str) -> Any:
    return importlib.import_module(f"pipeline.stages.{name}")


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
    if not fetch.is_current(recipe, paths, keys["fetch"]):
        return False
    return is_intact(paths.published(keys["publish"])) and is_visible(paths, keys["publish"])


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
    return digest({"recipe": recipe.model_dump(mode="json"), "code": _code_digest()})


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
