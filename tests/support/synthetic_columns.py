"""Columns of Arrow from whole arrays, for the tables of a synthetic run.

Shapes: B rows of a batch, K values of a row.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.features import HISTOGRAM_BINS

Columns = dict[str, pa.Array]


def histograms(active_B: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Each feature's tokens in four bins that lie beside each other."""
    histogram = np.zeros((len(active_B), HISTOGRAM_BINS), np.int64)
    middle = HISTOGRAM_BINS // 2
    for bin_, share in ((-1, 4), (0, 3), (1, 8)):
        histogram[:, middle + bin_] = active_B // share
    histogram[:, middle - 2] = active_B - histogram.sum(1)
    return histogram


def repeated(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), count)


def fixed(values_BK: npt.NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values_BK).reshape(-1)), values_BK.shape[1])


def lists(values_BK: npt.NDArray[Any], kept_B: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Rows as lists; those that are not kept are empty."""
    lengths = np.full(len(values_BK), values_BK.shape[1]) if kept_B is None else kept_B * values_BK.shape[1]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    kept = values_BK if kept_B is None else values_BK[kept_B]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(kept).reshape(-1)))


def batch(schema: pa.Schema, columns: Columns) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def ends(length_B: npt.NDArray[np.int64]) -> pa.Array:
    """Offsets of lists of these lengths [B + 1]."""
    return pa.array(np.concatenate([[0], np.cumsum(length_B)]), pa.int32())
