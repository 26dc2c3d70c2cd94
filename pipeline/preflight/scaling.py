"""Scaling laws: that the grids fit into the device's memory and the hours, and their checkpoint on the disk."""

import shutil
from typing import Any

from data.layout import RunPaths, StorePaths
from data.manifests import find_stage
from pipeline.preflight.device import device_problems
from pipeline.preflight.disk import gigabytes, standing
from pipeline.preflight.model import ModelFound
from pipeline.recipe import ReadRecipe, Recipe
from pipeline.recipe.scaling import UNDECIDING
from pipeline.scaling.cells import CellKeys, CellStore, known_cells
from pipeline.scaling.device import flops_per_second, free_memory
from pipeline.scaling.room import CHECKPOINT_BYTES, TRAINING_BYTES, all_bytes, memory_problems, timed_hours_problem


def scaling_problems(read: ReadRecipe, paths: RunPaths, model: ModelFound) -> list[str]:
    """A sentence for each grid that does not fit into memory, or one for all on the disk."""
    width = _width(read, model)
    if width is None:
        return []
    config, device = read.recipe.scale, read.recipe.model.device
    problems = [] if device_problems(device) else memory_problems(config, width, free_memory(device))
    checkpoint = all_bytes(config, width) // TRAINING_BYTES * CHECKPOINT_BYTES
    place = standing(paths.store.root)
    free = shutil.disk_usage(place).free if place.is_dir() else 0
    if not problems and checkpoint > free:
        problems.append(
            f"the checkpoint of the grids of scaling laws needs {gigabytes(checkpoint)} on disk, there are "
            f"{gigabytes(free)} free at {place}: make room, or give smaller num_features in scale.grids"
        )
    return problems


def hours_problems(read: ReadRecipe, paths: RunPaths, model: ModelFound) -> list[str]:
    """That the grids take longer than they may at all hooks together; times a few steps where it may be.

    For a recipe in which nothing else is wrong. Hooks whose grids are trained take none; of those of which the store
    may have cells, stage `scale` tells the hours of what is missing.
    """
    width, recipe, store = _width(read, model), read.recipe, paths.store
    if width is None:
        return []
    ahead = [one for one in recipe.by_place() if not _are_trained(one, store) and not _may_be_measured(one, store)]
    problem = timed_hours_problem(recipe.scale, width, lambda: step_rate(recipe, width), num_hooks=len(ahead))
    return [problem] if problem else []


def step_rate(recipe: Recipe, width: int) -> float:
    """Operations each second of a step at the largest size of the grids, on the device."""
    largest = max(size for grid in recipe.scale.grids for size in grid.num_features)
    return flops_per_second(recipe.scale.batch_size, width, largest, recipe.model.device)


def _width(read: ReadRecipe, model: ModelFound) -> int | None:
    """D of what the grids learn from; None where that is not known, or there are none."""
    return model.number("hidden_size") if read.recipe.scale.grids and read.gives("scale", "model") else None


def _are_trained(recipe: Recipe, store: StorePaths) -> bool:
    """Whether the run of one hook has all of it already."""
    stands, harvest = (find_stage(store.run(recipe.name), stage) for stage in ("scale", "harvest"))
    if stands is None or harvest is None or harvest.config.get("model") != _model_section(recipe):
        return False
    config = recipe.scale.model_dump(mode="json", exclude=set(UNDECIDING))
    same_rows = stands.inputs.get("harvest") == harvest.key
    return same_rows and stands.config == {"scale": config, "device": recipe.model.device}


def _may_be_measured(recipe: Recipe, store: StorePaths) -> bool:
    """Whether the store has a cell of the grids that was trained on rows from the hook of a recipe of one."""
    runs = [store.run(folder.name) for folder in (store.root / "runs").glob("*")]
    harvests = [harvest for paths in runs if (harvest := find_stage(paths, "harvest"))]
    cells = [cell for grid in recipe.scale.grids for cell in known_cells(grid)]
    keys = [
        CellKeys(recipe.scale, harvest.key, recipe.seed) for harvest in harvests
        if harvest.config.get("model") == _model_section(recipe)
    ]  # fmt: skip
    return any(CellStore(store.scaling).has(one.of(cell)) for one in keys for cell in cells)


def _model_section(recipe: Recipe) -> dict[str, Any]:
    """The part of it that decides rows, as stage `harvest` writes it down."""
    return recipe.model.model_dump(mode="json", include={"layer", "hook", "dtype", "device"})
