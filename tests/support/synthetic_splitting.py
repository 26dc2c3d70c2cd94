"""Relations of the features of a synthetic run, as publish works them out from the neighbours that were planted.

Shapes: R features of all SAEs, B rows of a block, S SAEs.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.published.schemas import splitting_schema
from pipeline.geometry.relatives import best_cosines, count_cosines

if TYPE_CHECKING:
    from tests.support.synthetic_block import Block
    from tests.support.synthetic_run import SyntheticRun


def best_of(run: "SyntheticRun", block: "Block") -> npt.NDArray[np.float32]:
    """The highest cosine of each feature of a block with a live one of each SAE [B, S]."""
    columns = run.neighbours_of(block)
    return best_cosines(pa.table(columns), len(run.sizes))


def splitting_batches(run: "SyntheticRun", blocks: "Iterable[Block]") -> Iterator[pa.RecordBatch]:
    """The table of data.published.schemas.splitting_schema. `blocks`: all of the run, SAE by SAE."""
    for sae, group in groupby(blocks, key=lambda block: block.sae):
        num_live, total, counts = 0, 0.0, 0
        for block in group:
            num_live += int(block.live.sum())
            total = total + block.vectors()[block.live].sum(0, dtype=np.float64)
            counts = counts + count_cosines(best_of(run, block)[block.live])
        mean_D = total / num_live
        row = {
            "sae": [run.saes[sae]],
            "num_live": [num_live],
            "num_minor": [0],
            "mean": [mean_D.tolist()],
            "counts": [counts.reshape(-1).tolist()],
            "minor_counts": [[0] * counts.size],
        }
        yield pa.RecordBatch.from_pydict(row, splitting_schema(len(mean_D), len(run.sizes)))
