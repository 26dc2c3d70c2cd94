"""Scaling laws: that the grids fit into this machine's memory, and their checkpoint on its disk."""

import shutil

from data.layout import RunPaths
from pipeline.preflight.disk import gigabytes, standing
from pipeline.preflight.model import ModelFound
from pipeline.recipe import ReadRecipe
from pipeline.scaling.room import CHECKPOINT_BYTES, TRAINING_BYTES, all_bytes, memory_problems, usable_memory


def scaling_problems(read: ReadRecipe, paths: RunPaths, model: ModelFound) -> list[str]:
    """A sentence for each grid that does not fit; those of a GPU are told when it is asked for memory."""
    width, config = model.number("hidden_size"), read.recipe.scale
    if width is None or not config.grids or not read.gives("scale", "model"):
        return []
    problems = memory_problems(config, width, usable_memory()) if read.recipe.model.device == "cpu" else []
    checkpoint = all_bytes(config, width) // TRAINING_BYTES * CHECKPOINT_BYTES
    place = standing(paths.store.root)
    free = shutil.disk_usage(place).free if place.is_dir() else 0
    if not problems and checkpoint > free:
        problems.append(
            f"the checkpoint of the grids of scaling laws needs {gigabytes(checkpoint)} on disk, there are "
            f"{gigabytes(free)} free at {place}: make room, or give smaller num_features in scale.grids"
        )
    return problems
