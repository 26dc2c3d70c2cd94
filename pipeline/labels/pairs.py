"""Active pairs of a feature and a token: sparse, feature by feature.

Shapes: F features of an SAE, K pairs.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow, write_arrow
from data.artifacts.features import ACTIVATIONS
from pipeline.arrays import Floats, Ints, Mask, sort_order

ROWS_PER_BATCH = 4096


class Active(NamedTuple):
    """One feature on a text."""

    tokens: Ints
    """Ascending numbers of the tokens on which it is above 0."""
    values: Floats


class FeatureActivity(NamedTuple):
    """Active pairs, sorted by feature, then token."""

    token_K: Ints
    value_K: Floats
    starts_F: Ints
    """Where the pairs of each feature begin, and of one more [F + 1]."""

    @classmethod
    def of_parts(cls, parts: list[tuple[Ints, Ints, Floats]], num_features: int) -> Self:
        """From features, tokens and values in any order."""
        empty = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        feature_K, token_K, value_K = (np.concatenate(column) for column in zip(empty, *parts, strict=True))
        order_K = sort_order(feature_K, token_K)
        starts_F = np.searchsorted(feature_K[order_K], np.arange(num_features + 1))
        return cls(token_K[order_K], value_K[order_K], starts_F)

    @property
    def feature_K(self) -> Ints:
        """The feature of each pair."""
        return np.repeat(np.arange(len(self.starts_F) - 1), np.diff(self.starts_F))

    def of(self, feature: int) -> Active:
        """The active tokens of one feature."""
        some = slice(self.starts_F[feature], self.starts_F[feature + 1])
        return Active(self.token_K[some], self.value_K[some])

    def kept(self, kept_K: Mask) -> Self:
        """Some of the pairs."""
        starts_F = np.concatenate([[0], np.cumsum(kept_K)])[self.starts_F]
        return type(self)(self.token_K[kept_K], self.value_K[kept_K], starts_F)

    def save(self, file: Path) -> None:
        """Write a table of ACTIVATIONS."""
        ends_F = pa.array(self.starts_F, pa.int32())
        columns = [
            pa.ListArray.from_arrays(ends_F, pa.array(self.token_K, pa.int32())),
            pa.ListArray.from_arrays(ends_F, pa.array(self.value_K, pa.float32())),
        ]
        write_arrow(file, ACTIVATIONS, _batches(columns))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read a table of ACTIVATIONS. Raises ArtifactError."""
        table = read_arrow(file)
        tokens, values = (table[name].combine_chunks() for name in ("tokens", "values"))
        starts_F = np.concatenate([[0], np.cumsum(tokens.value_lengths().to_numpy(), dtype=np.int64)])
        return cls(tokens.flatten().to_numpy().astype(np.int64), values.flatten().to_numpy(), starts_F)


def _batches(columns: list[pa.ListArray]) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(columns[0]), ROWS_PER_BATCH):
        yield pa.RecordBatch.from_arrays(
            [column.slice(start, ROWS_PER_BATCH) for column in columns], schema=ACTIVATIONS
        )
