"""Scaling laws: that the grids fit into the device's memory and the hours, and their checkpoint on the disk."""

import shutil

from data.layout import RunPaths
from data.manifests import find_stage
from pipeline.preflight.device import device_problems
from pipeline.preflight.disk import gigabytes, standing
from pipeline.preflight.model import ModelFound
from pipeline.recipe import ReadRecipe, Recipe
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
    """That the grids take longer than they may, where they are not trained already; times a few steps where it may be.

    For a recipe in which nothing else is wrong.
    """
    width, recipe = _width(read, model), read.recipe
    if width is None or _are_trained(recipe, paths):
        return []
    problem = timed_hours_problem(recipe.scale, width, lambda: step_rate(recipe, width))
    return [problem] if problem else []


def step_rate(recipe: Recipe, width: int) -> float:
    """Operations each second of a step at the largest size of the grids, on the device."""
    largest = max(size for grid in recipe.scale.grids for size in grid.num_features)
    return flops_per_second(recipe.scale.batch_size, width, largest, recipe.model.device)


def _width(read: ReadRecipe, model: ModelFound) -> int | None:
    """D of what the grids learn from; None where that is not known, or there are none."""
    return model.number("hidden_size") if read.recipe.scale.grids and read.gives("scale", "model") else None


def _are_trained(recipe: Recipe, paths: RunPaths) -> bool:
    """Whether the run has these grids already."""
    stands = find_stage(paths, "scale")
    grids = recipe.scale.model_dump(mode="json")["grids"]
    return stands is not None and stands.config.get("scale", {}).get("grids") == grids
