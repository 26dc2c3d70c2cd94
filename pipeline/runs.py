"""A whole run: its stages in order, and how a run with nothing left to do sees that in an instant.

Stage modules import torch and take seconds to load. So a complete run leaves a receipt (the recipe, the code, the keys
of all artifacts), and the next run of the same recipe by the same code only checks that all artifacts are still intact.
"""

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import data
import pipeline
from data.errors import ConfigError, MonosemaError
from data.hooks import Place, hook_briefly, hook_in_words, hook_of
from data.layout import RunPaths, StorePaths
from data.manifests import Manifest, digest, find_stage, require_stage
from pipeline.ahead import AFTER, AHEAD, RunAhead
from pipeline.completeness.lists import load_lists
from pipeline.memory import give_back, keep_freed
from pipeline.progress import format_seconds, log
from pipeline.stages import STAGES

if TYPE_CHECKING:
    from pipeline.recipe import ReadRecipe, Recipe
    from pipeline.stage import Stage

SHARED = ("tokenize", "harvest")
"""Stages that runs of several hooks have in common: tokens are the same, and one reading harvests all hooks."""
TOGETHER = ("fetch", *SHARED)
ASKING = ("score", "compare", "strengths")
"""Stages that ask judges, in their order."""


def run_checked(
    read: "ReadRecipe", paths: RunPaths, until: str = STAGES[-1], trial: Callable[[], None] | None = None
) -> None:
    """Run the stages of a recipe in which nothing is wrong.

    trial: called before any work, too, once nothing is; it may raise. Raises PreflightError when something is wrong.
    """
    keep_freed()
    if read.problems or not all(is_complete(*part) for part in parts_of(read.recipe, paths)):
        _check(read, paths, STAGES[: STAGES.index(until) + 1])
        if trial is not None:
            trial()
    run_stages(read.recipe, paths, until)
    give_back()
    if until == STAGES[-1]:
        for told in left_behind(read.recipe, paths.store):
            log(told)


def left_behind(recipe: "Recipe", store: StorePaths) -> list[str]:
    """A sentence for each published run of a hook that the recipe's autoencoders no longer read."""
    from data.published.state import list_published  # here, as SQLAlchemy takes long to load

    read = {one.name for one in recipe.by_place()}
    others = [one for one in list_published(store) if one.model == recipe.model.name and one.name not in read]
    places = [(one.name, Place(one.layer, hook_of(one.recipe))) for one in others]
    return [
        _told_left(name, place, recipe.name, is_known=owner is not None)
        for name, place in places
        if name in (recipe.name, f"{recipe.name}-{place.address}")
        and (owner := _recipe_behind(store.run(name))) in (recipe.name, None)
    ]


def _told_left(name: str, place: Place, recipe: str, *, is_known: bool) -> str:
    """A sentence on a published run of a hook that a recipe does not read.

    is_known: whether it is known to be the recipe's, and not one of a like name.
    """
    reads, off = hook_briefly(*place), f"`monosema unpublish {name}` takes it off the pages"
    if is_known:
        why = f"no autoencoder of recipe '{recipe}' reads its hook ({reads}) any more"
        return f"run '{name}' is published, and {why}: {off}"
    return (
        f"run '{name}' is published and reads {reads}, as no autoencoder of recipe '{recipe}' does: if that hook was "
        f"taken out of this recipe, {off}"
    )


def run_checked_stage(name: str, read: "ReadRecipe", paths: RunPaths) -> list[Manifest]:
    """Run one stage of a recipe in which nothing is wrong. Raises PreflightError, before work, when something is."""
    keep_freed()
    _check(read, paths, (name,))
    parts = parts_of(read.recipe, paths)
    return _run_together(name, parts) if name in TOGETHER else [run_stage(name, *part) for part in parts]


def parts_of(recipe: "Recipe", paths: RunPaths) -> list[tuple["Recipe", RunPaths]]:
    """The runs of a recipe: one for each hook that its autoencoders read, for most recipes itself alone."""
    return [(one, paths.store.run(one.name)) for one in recipe.by_place()]


def _check(read: "ReadRecipe", paths: RunPaths, stages: Sequence[str]) -> None:
    from pipeline.preflight.check import refuse_unfit  # here, for `serve` needs none of it

    refuse_unfit(read, paths, asks_judges=will_ask_judges(read, paths, stages))


def will_ask_judges(read: "ReadRecipe", paths: RunPaths, stages: Sequence[str] = STAGES) -> bool:
    """Whether these stages ask a judge behind a server: the recipe names one, and not all that it says stands."""
    from pipeline.preflight.judges import served_judges

    asking = [name for name in ASKING if name in stages]
    if not asking or not served_judges(read):
        return False
    return not all(_is_current(asking[-1], *part) for part in parts_of(read.recipe, paths))


def _is_current(name: str, recipe: "Recipe", paths: RunPaths) -> bool:
    """Whether a stage and all before it stand, and would do nothing."""
    names = STAGES[: STAGES.index(name) + 1]
    manifests = {one: manifest for one in names if (manifest := find_stage(paths, one)) is not None}
    if len(manifests) < len(names):
        return False
    try:
        return all(_key_of(one, recipe, paths, manifests) == manifests[one].key for one in names)
    except MonosemaError:
        return False


def _key_of(name: str, recipe: "Recipe", paths: RunPaths, manifests: Mapping[str, Manifest]) -> str:
    """The key of a stage's artifact by the recipe and the manifests of the stages before it."""
    stage = _stage_of(name, recipe, paths)
    return stage.key(recipe, {need: manifests[need] for need in stage.needs})


def _stage_of(name: str, recipe: "Recipe", paths: RunPaths) -> "Stage":
    module = _module_of(name, recipe)
    stage: Stage = module.stage_in(paths.store) if hasattr(module, "stage_in") else module.STAGE
    return stage


def _module_of(name: str, recipe: "Recipe") -> ModuleType:
    """The module of a stage; in place of `train` stands `imports` where SAEs are imported."""
    return importlib.import_module(f"pipeline.stages.{'imports' if _is_import(name, recipe) else name}")


def _is_import(name: str, recipe: "Recipe") -> bool:
    return name == "train" and bool(recipe.imports.saes)


def run_stages(recipe: "Recipe", paths: RunPaths, until: str = STAGES[-1]) -> None:
    """Run the stages up to and including `until`; those that stand already do nothing.

    Of several hooks each has a run, and the corpus is read once for all of them.
    """
    parts = parts_of(recipe, paths)
    missing = [part for part in parts if not _told_complete(*part)]
    names = STAGES[: STAGES.index(until) + 1]
    alone = STAGES.index(TOGETHER[-1]) + 1 if len(parts) > 1 else 0
    for name in names[:alone] if missing else ():
        _run_together(name, parts)
    for one, of_one in missing:
        if alone and names[alone:]:
            log(f"run '{of_one.run}': {hook_in_words(*one.model.place)}")
        manifests = _run_in_turn(names[alone:], one, of_one)
        if until == STAGES[-1]:
            before = {name: require_stage(of_one, name) for name in names[:alone]}
            _write_receipt(one, of_one, before | manifests, recipe.name)


def _run_in_turn(names: Sequence[str], recipe: "Recipe", paths: RunPaths) -> dict[str, Manifest]:
    """The stages of one run, one after the other, but for those that run ahead while others do."""
    before = {name: find_stage(paths, name) for name in names}
    manifests: dict[str, Manifest] = {}
    with RunAhead(recipe, paths) as ahead:
        for name in names:
            if name in AHEAD:
                ahead.wait()
            manifests[name] = _run_stage(name, recipe, paths, before[name])
            if name == AFTER and set(AHEAD) <= set(names):
                ahead.start()
    return manifests


def _told_complete(recipe: "Recipe", paths: RunPaths) -> bool:
    complete = is_complete(recipe, paths)
    if complete:
        log(f"run '{paths.run}' is complete already")
    return complete


def _run_together(name: str, parts: list[tuple["Recipe", RunPaths]]) -> list[Manifest]:
    """Run a stage of several runs: where they ask for the same it is made once, and harvested is all in one pass."""
    if len(parts) == 1 or name not in SHARED:
        return [run_stage(name, *part) for part in parts]
    before = [find_stage(paths, name) for _, paths in parts]
    stage: Stage = importlib.import_module(f"pipeline.stages.{name}").STAGE
    manifests = stage.run_together(parts)
    for (_, paths), manifest, earlier in zip(parts, manifests, before, strict=True):
        _tell(name, manifest, earlier, f", run '{paths.run}'")
    return manifests


def run_stage(name: str, recipe: "Recipe", paths: RunPaths) -> Manifest:
    """Run one stage and say what came of it. Raises MonosemaError or ModelError."""
    return _run_stage(name, recipe, paths, find_stage(paths, name))


def _run_stage(name: str, recipe: "Recipe", paths: RunPaths, before: Manifest | None) -> Manifest:
    """The same. before: what stood before anything was begun."""
    manifest: Manifest = _module_of(name, recipe).run(recipe, paths)
    _tell(name, manifest, before, title="import" if _is_import(name, recipe) else name)
    return manifest


def _tell(name: str, manifest: Manifest, before: Manifest | None, of_run: str = "", title: str = "") -> None:
    state = "stands already" if manifest == before else f"done in {format_seconds(manifest.seconds)}"
    log(f"[{STAGES.index(name) + 1}/{len(STAGES)}] {title or name}{of_run}: {state}")


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
    if not fetch.is_current(recipe, paths, keys["fetch"]) or not _sources_are_current(recipe, paths, manifests, keys):
        return False
    return is_intact(paths.published(keys["publish"])) and is_visible(paths, keys["publish"])


def _sources_are_current(
    recipe: "Recipe", paths: RunPaths, manifests: Mapping[str, Manifest | None], keys: Mapping[str, str]
) -> bool:
    """Whether the files of SAEs that are imported or gone on from are those that were read."""
    if not (recipe.imports.saes or any(sae.begin for sae in recipe.train.saes)):
        return True
    inputs = {name: manifest for name, manifest in manifests.items() if manifest is not None}
    try:
        return _key_of("train", recipe, paths, inputs) == keys["train"]
    except MonosemaError:
        return False


def _write_receipt(recipe: "Recipe", paths: RunPaths, manifests: dict[str, Manifest], whole: str) -> None:
    """whole: name of the recipe that this is the part of one hook of, or of itself."""
    keys = {name: manifest.key for name, manifest in manifests.items()}
    temporary = paths.receipt.with_suffix(".new")
    temporary.write_text(json.dumps({"run": _run_digest(recipe), "keys": keys, "recipe": whole}))
    temporary.replace(paths.receipt)


def _read_receipt(paths: RunPaths) -> dict[str, Any] | None:
    try:
        receipt: dict[str, Any] = json.loads(paths.receipt.read_text())
    except (FileNotFoundError, ValueError):
        return None
    is_whole = set(receipt) == {"run", "keys", "recipe"} and set(receipt["keys"]) == set(STAGES)
    return receipt if is_whole else None


def _recipe_behind(paths: RunPaths) -> str | None:
    """The name of the recipe of which the last complete run was, which may have runs of other hooks, too; None where no
    receipt says it."""
    receipt = _read_receipt(paths)
    return None if receipt is None else str(receipt["recipe"])


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
