"""Rows that pages read by number, in Arrow files that the server maps into memory.

    rows/features.arrow      a copy of table `features` but for its vectors and cosines
    rows/examples.arrow      a copy of table `examples`
    rows/search.arrow        a copy of what table `search` has beside its terms
    rows/neighbours.arrow    the nearest features of every feature: there is no table of them
    rows/activity.arrow      the held-out tokens on which every feature is active
    rows/readings.arrow      what features change at single examples, and what made them fire there: no table either
    rows/judged.arrow        activations over the range of features, with what judges say of them
    rows/scores.arrow        the scores of features by every judge
    rows/concepts.arrow      the concepts of the run's lists
    rows/concept_features.arrow    the features that may be a concept's own
    rows/concept_activity.arrow    the prompts with concepts on which every feature is active
    rows/neuron_examples.arrow    examples of the neurons that features go with, see data/artifacts/neurons.py

A row costs microseconds, where LanceDB takes milliseconds of several threads. The copies take about 0.8 KB a feature
and 50 bytes an example with 6 more for each of its tokens above zero; what is large, the vectors, has none.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow

ROWS_FOLDER = "rows"


def row_file_path(folder: Path, name: str) -> Path:
    """The file of a table in a published folder."""
    return folder / ROWS_FOLDER / f"{name}.arrow"


def copying(
    path: Path, schema: pa.Schema, names: Sequence[str], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The same batches; some of their columns are written to a file as they pass."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = pa.schema([schema.field(name) for name in names])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, kept) as writer:
        for batch in batches:
            writer.write_batch(batch.select(list(names)))
            yield batch


class RowFile:
    """Read access to one such file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _batches(self) -> list[pa.RecordBatch]:
        return list(self._table.to_batches())

    @cached_property
    def _table(self) -> pa.Table:
        return read_arrow(self._path)

    @cached_property
    def _starts(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """The first row of every batch, and after the last the number of rows."""
        return np.cumsum([0, *map(len, self._batches)], dtype=np.int64)

    @property
    def schema(self) -> pa.Schema:
        return self._table.schema

    def has(self, names: Sequence[str]) -> bool:
        """Whether it holds all these columns."""
        return all(name in self._names for name in names)

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.schema.names)

    def __len__(self) -> int:
        return len(self._table)

    def take(self, rows: Sequence[int], names: Sequence[str]) -> pa.Table:
        """Rows by number, in the order asked for, each column in one piece; a number may come twice."""
        schema = pa.schema([self.schema.field(name) for name in names])
        if len(rows) == 0:
            return schema.empty_table()
        row_N = np.asarray(rows, np.int64)
        assert 0 <= row_N.min() <= row_N.max() < len(self), f"{self._path.name} lacks rows of {row_N.tolist()[:5]}"
        batch_N = np.searchsorted(self._starts, row_N, side="right") - 1
        # Rows that follow one another in one batch are one piece.
        first_P = np.flatnonzero((np.diff(row_N, prepend=-2) != 1) | (np.diff(batch_N, prepend=-1) != 0))
        lengths = np.diff(first_P, append=len(row_N)).tolist()
        offsets = (row_N - self._starts[batch_N])[first_P].tolist()
        places = zip(batch_N[first_P].tolist(), offsets, lengths, strict=True)
        pieces = [self._batches[batch].select(list(names)).slice(start, length) for batch, start, length in places]
        return pa.Table.from_batches(pieces, schema).combine_chunks()
