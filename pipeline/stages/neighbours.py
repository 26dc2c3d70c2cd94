"""Neighbours: for every feature its nearest by decoder cosine, within its own SAE and in each other one. Exact.

Dead and negligible features (data/artifacts/features.py) have neighbours and are none.

Every cosine is computed, in float32, one tile of rows at a time; memory is that of the directions and one tile.
"""

from typing import Any

from data.arrow import write_arrow
from data.artifacts.features import NEIGHBOURS_FILE, STATISTICS_FILE, neighbours_schema
from pipeline.geometry.nearest import load_directions, neighbour_batches, read_notable
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"neighbours": recipe.neighbours.model_dump(), "saes": recipe.sae_names}


def _work(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    folders = [work.input_folder("train") / name for name in recipe.sae_names]
    directions = load_directions(folders, recipe.model.device)
    schema = neighbours_schema(len(directions), recipe.neighbours.k)
    notable = [read_notable(work.input_folder("examples") / name / STATISTICS_FILE) for name in recipe.sae_names]
    batches = neighbour_batches(directions, notable, recipe.neighbours.k, schema)
    write_arrow(work.folder / NEIGHBOURS_FILE, schema, batches)
    return {"num_features": sum(map(len, directions)), "num_saes": len(directions), "k": recipe.neighbours.k}


STAGE = Stage(name="neighbours", work=_work, config=_config, needs=("train", "examples"), version=2)
run = STAGE.run
