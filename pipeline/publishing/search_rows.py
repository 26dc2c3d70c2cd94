"""The rows that the search asks, of the features of all SAEs: words of their labels and of their examples.

Shapes: F features of one SAE, B features of a part.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data.artifacts.features import EXAMPLES_FILE, STATISTICS_FILE, TOP
from pipeline.arrays import Ints
from pipeline.examples.texts import ExampleTexts
from pipeline.publishing.artifacts import RunArtifacts
from pipeline.publishing.columns import columns_of, count_examples
from pipeline.publishing.searchable import Surroundings, search_batch, searchable


class _Searched(NamedTuple):
    """What is read of one SAE."""

    features: pa.Table
    examples: pa.Table
    num_FE: Ints
    first_F: Ints
    """Row of each feature's first example."""


class SearchRows(RunArtifacts):
    """Makes any part of the table: each row stands alone."""

    def some(self, start: int, stop: int) -> list[pa.RecordBatch]:
        """The rows from `start` to before `stop`, those of each SAE by themselves."""
        return list(self._some(start, stop))

    def _some(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        first_row = 0
        for name, searched in self._searched.items():
            size = len(searched.features)
            low, high = max(start - first_row, 0), min(stop - first_row, size)
            if low < high:
                found = self._surroundings(searched, slice(low, high))
                features = columns_of(searched.features, slice(low, high))
                yield search_batch(name, first_row + low, features, found, self.vocabulary)
            first_row += size

    def _surroundings(self, searched: _Searched, rows: slice) -> Surroundings:
        first_B, num_BE = searched.first_F[rows], searched.num_FE[rows]
        some = searched.examples.slice(first_B[0], int(num_BE.sum()))
        return Surroundings(self._texts, some, first_B - first_B[0], num_BE[:, TOP])

    @cached_property
    def _texts(self) -> ExampleTexts:
        return ExampleTexts(self.corpus, self.vocabulary)

    @cached_property
    def _searched(self) -> dict[str, _Searched]:
        return {name: self._searched_of(name) for name in self.saes}

    def _searched_of(self, name: str) -> _Searched:
        statistics, examples = (self.read("examples", name, file) for file in (STATISTICS_FILE, EXAMPLES_FILE))
        num_FE = count_examples(examples, len(statistics), name)
        features = searchable(statistics, self.kinds[name], self.labels(name))
        first_F = np.cumsum(num_FE.sum(1)) - num_FE.sum(1)
        return _Searched(features, examples.select(["document", "position"]), num_FE, first_F)
