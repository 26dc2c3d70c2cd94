"""Project: one joint UMAP of the notable features of all SAEs: those that are neither dead nor negligible.

Directions are centred for each SAE (its mean direction taken off, scaled to norm 1 again), since all directions of one
SAE share a part that says nothing of the feature and would pull the SAEs apart. UMAP gets the exact neighbour graph of
these, found as in `neighbours`, and the plane of their two main components to start from: same seed, same map.

Shapes: P points (notable features of all SAEs), F features of one SAE, K neighbours in the graph, D width.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from data.arrow import write_arrow
from data.artifacts.features import MAP, MAP_FILE, STATISTICS_FILE
from pipeline.geometry.layout import lay_out, notable_directions
from pipeline.geometry.nearest import load_directions, read_notable
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"project": recipe.project.model_dump(), "saes": recipe.sae_names}


def _work(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    directions = load_directions([work.input_folder("train") / n for n in recipe.sae_names], recipe.model.device)
    notable = [read_notable(work.input_folder("examples") / name / STATISTICS_FILE) for name in recipe.sae_names]
    row_P = np.flatnonzero(np.concatenate(notable))
    xy_P2 = lay_out(notable_directions(directions, notable), recipe.project, recipe.seed)
    columns = [pa.array(row_P, pa.int64()), *(pa.array(np.ascontiguousarray(axis_P)) for axis_P in xy_P2.T)]
    write_arrow(work.folder / MAP_FILE, MAP, [pa.RecordBatch.from_arrays(columns, schema=MAP)])
    return {"num_points": len(row_P), "num_left_out": sum(map(len, notable)) - len(row_P)}


STAGE = Stage(name="project", work=_work, config=_config, needs=("train", "examples"), version=2)
run = STAGE.run
