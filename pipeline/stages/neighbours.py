"""Neighbours: for every feature its nearest by decoder cosine, within its own SAE and in each other one. Exact.

Every feature has neighbours. Live ones (data/artifacts/features.py) are those of others; rare and negligible ones are
kept apart, in a shorter list, and dead ones are nobody's.

Every cosine is computed, in float32, one tile of rows at a time; memory is that of the directions and one tile.
"""

from typing import Any

from data.arrow import write_arrow
from data.artifacts.features import NEIGHBOURS_FILE, neighbours_schema
from pipeline.geometry.nearest import kinds_of, load_directions, neighbour_batches
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def _config(recipe: Recipe) -> dict[str, Any]:
    rare = recipe.examples.rare_tokens
    return {"neighbours": recipe.neighbours.model_dump(), "saes": recipe.sae_names, "rare_tokens": rare}


def _work(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    folders = [work.input_folder("train") / name for name in recipe.sae_names]
    directions = load_directions(folders, recipe.model.device)
    schema = neighbours_schema(len(directions), recipe.neighbours.k)
    kinds = kinds_of(work.input_folder("examples"), recipe.sae_names, recipe.examples.rare_tokens)
    batches = neighbour_batches(directions, kinds, recipe.neighbours.k, schema)
    write_arrow(work.folder / NEIGHBOURS_FILE, schema, batches)
    return {"num_features": sum(map(len, directions)), "num_saes": len(directions), "k": recipe.neighbours.k}


STAGE = Stage(name="neighbours", work=_work, config=_config, needs=("train", "examples"), version=3)
run = STAGE.run
