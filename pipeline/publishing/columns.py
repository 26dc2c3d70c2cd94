"""Parts of published tables: rows in slices, columns in one piece, batches of a schema."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.features import EXAMPLE_KINDS
from data.errors import ArtifactError
from pipeline.progress import Progress

TABLE_BATCH_ROWS = 4096


@dataclass(frozen=True)
class RunTable:
    """One published table, ready to be written."""

    schema: pa.Schema
    num_rows: int
    make: Callable[[], Iterable[pa.RecordBatch]]

    def batches(self, progress: Progress) -> Iterator[pa.RecordBatch]:
        """Its rows, each batch counted as it is taken."""
        for batch in self.make():
            yield batch
            progress.advance(len(batch))


def batch_slices(total: int) -> Iterator[slice]:
    """Slices of TABLE_BATCH_ROWS rows, one after the other."""
    for start in range(0, total, TABLE_BATCH_ROWS):
        yield slice(start, min(start + TABLE_BATCH_ROWS, total))


def columns_of(table: pa.Table, rows: slice) -> dict[str, pa.Array]:
    """Some rows of a table, each column in one piece."""
    chosen = table.slice(rows.start or 0, None if rows.stop is None else rows.stop - (rows.start or 0))
    return {name: _whole(chosen[name]) for name in table.schema.names}


def fixed_lists(values_NK: npt.NDArray[np.generic]) -> pa.Array:
    """A list of K values in each of N rows."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values_NK.reshape(-1)), values_NK.shape[1])


def count_examples(examples: pa.Table, size: int, sae: str) -> npt.NDArray[np.int64]:
    """Number of examples of each kind that every feature of an SAE has [F, kinds].

    Raises ArtifactError where they are not sorted by both.
    """
    slot_M = examples["index"].to_numpy().astype(np.int64) * len(EXAMPLE_KINDS) + examples["kind"].to_numpy()
    if (np.diff(slot_M) < 0).any():
        raise ArtifactError(f"the examples of {sae} are not sorted: run `monosema examples` again")
    return np.bincount(slot_M, minlength=size * len(EXAMPLE_KINDS)).reshape(size, -1)


def batch_of(schema: pa.Schema, columns: dict[str, Any]) -> pa.RecordBatch:
    """One batch of the columns that `schema` names."""
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
