"""The rows that the search asks, of the features of all SAEs: words of their labels and of their examples.

Shapes: F features of one SAE, B features of a part.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLES_FILE, STATISTICS_FILE, TOP, read_kinds
from data.artifacts.labels import read_labels
from pipeline.arrays import Ints
from pipeline.examples.texts import ExampleTexts
from pipeline.publishing.columns import columns_of, count_examples
from pipeline.publishing.searchable import Surroundings, search_batch, searchable


class _Searched(NamedTuple):
    """What is read of one SAE."""

    features: pa.Table
    examples: pa.Table
    num_FE: Ints
    first_F: Ints
    """Row of each feature's first example."""


@dataclass(frozen=True)
class SearchRows:
    """Makes any part of the table: each row stands alone."""

    folders: dict[str, Path]
    """The artifact of every stage."""
    saes: tuple[str, ...]
    """Names in the order of the recipe."""
    vocabulary: list[bytes]
    """The bytes of every token by id."""
    rare_tokens: int
    """A rare feature is active on fewer tokens than this."""

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # another process reads files anew

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
        return ExampleTexts(TokenizedCorpus(self.folders["tokenize"]), self.vocabulary)

    @cached_property
    def _searched(self) -> dict[str, _Searched]:
        return {name: self._read(name) for name in self.saes}

    def _read(self, name: str) -> _Searched:
        statistics = read_arrow(self.folders["examples"] / name / STATISTICS_FILE)
        labels = read_labels(self.folders["explain"], self.folders["score"], name)
        examples = read_arrow(self.folders["examples"] / name / EXAMPLES_FILE)
        num_FE = count_examples(examples, len(statistics), name)
        features = searchable(statistics, read_kinds(statistics, self.rare_tokens), labels)
        first_F = np.cumsum(num_FE.sum(1)) - num_FE.sum(1)
        return _Searched(features, examples.select(["document", "position"]), num_FE, first_F)
