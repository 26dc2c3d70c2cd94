"""The published curves over strengths, from the artifact of stage `strengths`.

Shapes: F features of one SAE, N rows of the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.arrow import read_arrow
from data.artifacts.strengths import CURVES_FILE, STRENGTHS_FILE
from data.published.schemas import PUBLISHED_STRENGTHS
from pipeline.arrays import Ints
from pipeline.publishing.columns import RunTable, batch_of, batch_slices, columns_of


@dataclass(frozen=True)
class StrengthTables:
    """What features do at every strength, by row of the feature."""

    folder: Path
    """The artifact."""
    saes: tuple[str, ...]
    sizes: list[int]
    first_rows: list[int]

    def all(self) -> dict[str, RunTable]:
        """File `strengths`."""
        total = sum(len(read_arrow(self.folder / sae / STRENGTHS_FILE)) for sae in self.saes)
        return {"strengths": RunTable(PUBLISHED_STRENGTHS, total, self._batches)}

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for first_row, sae in zip(self.first_rows, self.saes, strict=True):
            table = read_arrow(self.folder / sae / STRENGTHS_FILE)
            for rows in batch_slices(len(table)):
                columns = columns_of(table, rows)
                row_N = first_row + columns["index"].to_numpy().astype(np.int64)
                yield batch_of(PUBLISHED_STRENGTHS, {**columns, "row": pa.array(row_N)})

    def columns(self, sae: str, rows: slice) -> dict[str, pa.Array]:
        """The columns of table `features` that tell of a feature's curve, and lead to it."""
        size = rows.stop - rows.start
        return {name: column.slice(rows.start, size) for name, column in self._columns[sae].items()}

    @cached_property
    def _columns(self) -> dict[str, dict[str, pa.Array]]:
        found, before = {}, 0
        for sae, size in zip(self.saes, self.sizes, strict=True):
            curves = read_arrow(self.folder / sae / CURVES_FILE)
            index_N = read_arrow(self.folder / sae / STRENGTHS_FILE)["index"].to_numpy()
            num_F: Ints = np.bincount(index_N, minlength=size)
            place_F = np.full(size, -1)
            place_F[curves["index"].to_numpy()] = np.arange(len(curves))
            places = pa.array(place_F, mask=place_F < 0)
            found[sae] = {
                "peak_strength": _taken(curves["peak"], places),
                "break_strength": _taken(curves["breaks"], places),
                "strength_words": _words(curves, size),
                "strength_words_from": pc.fill_null(_taken(curves["words_from"], places), ""),
                "first_strength": pa.array(before + np.cumsum(num_F) - num_F),
                "num_strengths": pa.array(num_F.astype(np.int16)),
            }
            before += len(index_N)
        return found


def _words(curves: pa.Table, size: int) -> pa.Array:
    """The words of every feature; none where it has no curve."""
    words = curves["words"].combine_chunks()
    offsets = np.zeros(size + 1, np.int32)
    offsets[curves["index"].to_numpy() + 1] = pc.list_value_length(words).to_numpy()
    return pa.ListArray.from_arrays(pa.array(np.cumsum(offsets, dtype=np.int32)), words.flatten())


def _taken(column: pa.ChunkedArray, places: pa.Array) -> pa.Array:
    """The values at some places, null where a place is."""
    return column.combine_chunks().take(places)
