"""Project: one joint UMAP of the live features of all SAEs (data/artifacts/features.py says which these are).

Directions are centred for each SAE (its mean direction taken off, scaled to norm 1 again), since all directions of one
SAE share a part that says nothing of the feature and would pull the SAEs apart. UMAP gets the exact neighbour graph of
these, found as in `neighbours`, and the plane of their two main components to start from: same seed, same map.

Rare and negligible features are put on it afterwards, each beside the live one that is nearest: they are shown when
somebody asks for them, and change nothing for the others.

Shapes: P points (live features of all SAEs), M minor ones, F features of one SAE, D width.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from data.arrow import write_arrow
from data.artifacts.features import MAP, MAP_FILE
from pipeline.geometry.layout import centred_directions, lay_out, put_beside
from pipeline.geometry.nearest import kinds_of, load_directions
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def _config(recipe: Recipe) -> dict[str, Any]:
    rare = recipe.examples.rare_tokens
    return {"project": recipe.project.model_dump(), "saes": recipe.sae_names, "rare_tokens": rare}


def _work(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    directions = load_directions([work.input_folder("train") / n for n in recipe.sae_names], recipe.model.device)
    kinds = kinds_of(work.input_folder("examples"), recipe.sae_names, recipe.examples.rare_tokens)
    live, minor = [kind.live_F for kind in kinds], [kind.minor_F for kind in kinds]
    x_PD, x_MD = (centred_directions(directions, live, chosen) for chosen in (live, minor))
    xy_P2 = lay_out(x_PD, recipe.project, recipe.seed)
    xy_M2 = put_beside(x_MD, x_PD, xy_P2, recipe.seed)
    row_P, row_M = np.flatnonzero(np.concatenate(live)), np.flatnonzero(np.concatenate(minor))
    axes = np.concatenate([xy_P2, xy_M2]).T
    columns = [pa.array(np.concatenate([row_P, row_M])), *(pa.array(np.ascontiguousarray(axis)) for axis in axes)]
    write_arrow(work.folder / MAP_FILE, MAP, [pa.RecordBatch.from_arrays(columns, schema=MAP)])
    return {"num_points": len(row_P), "num_minor": len(row_M), "num_left_out": int(sum(k.dead_F.sum() for k in kinds))}


STAGE = Stage(name="project", work=_work, config=_config, needs=("train", "examples"), version=3)
run = STAGE.run
