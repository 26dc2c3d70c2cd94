"""Neighbours: for every feature its nearest by decoder cosine, within its own SAE and in each other one. Exact.

Every cosine is computed, in float32, one tile of rows at a time; memory is that of the directions and one tile.

Shapes: R features of all SAEs, S SAEs, T rows of a tile, K nearest, D width.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from data.arrow import write_arrow
from data.artifacts.features import NEIGHBOURS_FILE, neighbours_schema
from pipeline.geometry.nearest import cosine_tiles, load_directions, nearest
from pipeline.progress import track
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"neighbours": recipe.neighbours.model_dump(), "saes": recipe.sae_names}


def _work(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    folders = [work.input_folder("train") / name for name in recipe.sae_names]
    directions = load_directions(folders, recipe.model.device)
    schema = neighbours_schema(len(directions), recipe.neighbours.k)
    batches = neighbour_batches(directions, recipe.neighbours.k, schema)
    write_arrow(work.folder / NEIGHBOURS_FILE, schema, batches)
    return {"num_features": sum(map(len, directions)), "num_saes": len(directions), "k": recipe.neighbours.k}


def neighbour_batches(directions: list[Tensor], k: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The table of data.artifacts.features.neighbours_schema, one batch a tile.

    directions: norm-1 rows [F, D] of each SAE.
    """
    sizes = [len(W_FD) for W_FD in directions]
    W_RD = torch.cat(directions)
    with track("neighbours", len(W_RD), "features") as progress:
        for rows, cosines_TR in cosine_tiles(W_RD):
            found = [nearest(cosines_TF, k) for cosines_TF in torch.split(cosines_TR, sizes, dim=1)]
            columns = [torch.cat(parts, dim=1) for parts in zip(*found, strict=True)]
            lists = [pa.FixedSizeListArray.from_arrays(c.cpu().numpy().reshape(-1), len(sizes) * k) for c in columns]
            yield pa.RecordBatch.from_arrays(lists, schema=schema)
            progress.advance(rows.stop - rows.start)


STAGE = Stage(name="neighbours", work=_work, config=_config, needs=("train",))
run = STAGE.run
