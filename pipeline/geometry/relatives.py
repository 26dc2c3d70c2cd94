"""Relatives of the features of one SAE in another: the highest cosine of each, and the distribution of these.

Only live features count: the direction of one that does nothing says nothing. Where an SAE has none, a feature has
no relative there, and its cosine is NO_RELATIVE.

Shapes: B rows of a batch, S SAEs, K neighbours.
"""

from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.features import COSINE_BINS, NO_RELATIVE, cosine_edges
from pipeline.arrays import Floats


def best_cosines(neighbours: pa.Table, num_saes: int) -> Floats:
    """The highest cosine of each feature with a live one of each SAE [B, S], from some rows of `neighbours`."""
    shape = (len(neighbours), num_saes, -1)
    indices_BSK, cosines_BSK = (
        neighbours[name].combine_chunks().flatten().to_numpy().reshape(shape) for name in ("indices", "cosines")
    )
    best_BS = np.where(indices_BSK >= 0, cosines_BSK, NO_RELATIVE).max(2, initial=NO_RELATIVE)
    return cast(Floats, best_BS.astype(np.float32))


def count_cosines(best_BS: Floats) -> npt.NDArray[np.int64]:
    """Number of features that have their highest cosine with each SAE in each bin [S, COSINE_BINS]."""
    bins_BS = np.clip(np.searchsorted(cosine_edges(), best_BS, side="right") - 1, 0, COSINE_BINS - 1)
    return np.stack([np.bincount(bins_B, minlength=COSINE_BINS) for bins_B in bins_BS.T])
