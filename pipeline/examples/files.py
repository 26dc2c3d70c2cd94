"""Writes what the examples stage found: statistics.arrow and examples.arrow of one SAE, see data.artifacts.features.

Shapes: F features, M examples, H histogram bins, A bands, B features of a batch.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data.arrow import write_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import (
    EXAMPLES,
    EXAMPLES_FILE,
    FLOOR_BIN,
    HISTOGRAM_BINS,
    INTERVAL,
    STATISTICS,
    STATISTICS_FILE,
    negligible_features,
)
from pipeline.arrays import Ints, ranges, unpack_tokens
from pipeline.examples.bands import band_bounds
from pipeline.examples.selection import Lattice, Statistics
from pipeline.examples.windows import Examples

ROWS_PER_BATCH = 1 << 16


def write_examples(folder: Path, examples: Examples, corpus: TokenizedCorpus) -> int:
    """Write examples.arrow batch by batch; returns the number of examples."""
    total = len(examples.rank_M)
    _write(folder / EXAMPLES_FILE, EXAMPLES, total, lambda rows: _example_columns(examples, corpus, rows))
    return total


class Tally(NamedTuple):
    """How many features of an SAE do nothing, or next to nothing."""

    num_dead: int
    num_negligible: int


def write_statistics(
    folder: Path, statistics: Statistics, examples: Examples, num_tokens: int, scale: float, num_bands: int
) -> Tally:
    """Write statistics.arrow. `scale` is the SAE's `histogram_scale`.

    A feature whose every candidate turned out inactive in float32 was active by rounding alone: it is written as dead.
    """
    max_F, edges = examples.max_F, Lattice(scale).inner_edges
    live_F = max_F > 0
    active_F = np.where(live_F, statistics.num_active_F, 0)
    mean_F = np.where(live_F, statistics.sum_F / np.maximum(active_F, 1), 0)
    squares_F = np.where(live_F, statistics.sum_squares_F, 0)
    found_FA = _found_in_bands(examples, len(max_F), num_bands)

    def columns(rows: slice) -> list[pa.Array]:
        histogram_BH = statistics.histogram_FH[rows] * live_F[rows, None]
        counts_BA = np.maximum(band_bounds(histogram_BH, max_F[rows], edges, num_bands).least_FA, found_FA[rows])
        ends = pa.array(np.arange(len(counts_BA) + 1) * num_bands, pa.int32())
        return [
            pa.array(np.arange(rows.start, rows.stop), pa.int32()),
            pa.array(active_F[rows], pa.int64()),
            pa.array(active_F[rows] / max(num_tokens, 1), pa.float32()),
            pa.array(max_F[rows], pa.float32()),
            pa.array(np.minimum(mean_F[rows], max_F[rows]), pa.float32()),  # the sum may have been in bfloat16
            pa.array(squares_F[rows]),
            pa.FixedSizeListArray.from_arrays(pa.array(histogram_BH.reshape(-1), pa.int64()), HISTOGRAM_BINS),
            pa.array(histogram_BH[:, FLOOR_BIN:].sum(1)),
            pa.ListArray.from_arrays(ends, pa.array(counts_BA.reshape(-1), pa.int64())),
        ]

    _write(folder / STATISTICS_FILE, STATISTICS, len(max_F), columns)
    return Tally(int((~live_F).sum()), int(negligible_features(squares_F).sum()))


def _found_in_bands(examples: Examples, num_features: int, num_bands: int) -> Ints:
    """Interval examples of each band of every feature [F, A]."""
    chosen = examples.chosen.take(examples.chosen.kind_M == INTERVAL)
    counts = np.bincount(chosen.feature_M * num_bands + chosen.band_M, minlength=num_features * num_bands)
    return counts.reshape(num_features, num_bands)


def _example_columns(examples: Examples, corpus: TokenizedCorpus, rows: slice) -> list[pa.Array]:
    chosen = examples.chosen.take(np.arange(rows.start, rows.stop))
    sequence_M, position_M = unpack_tokens(chosen.token_M)
    document_M = corpus.sequences["document"][sequence_M]
    count_M = examples.count_M[rows]
    entries = ranges(examples.first_M[rows], count_M)
    ends = pa.array(np.concatenate([[0], np.cumsum(count_M)]), pa.int32())
    return [
        pa.array(chosen.feature_M, pa.int32()),
        pa.array(chosen.kind_M),
        pa.array(examples.rank_M[rows], pa.int16()),
        pa.array(chosen.band_M),
        pa.array(document_M, pa.int32()),
        pa.array(corpus.document_ids[document_M], pa.int64()),
        pa.array(position_M, pa.int32()),
        pa.array(examples.start_M[rows], pa.int32()),
        pa.array(examples.length_M[rows], pa.int16()),
        pa.array(examples.activation_M[rows]),
        pa.array(examples.pre_activation_M[rows]),
        pa.ListArray.from_arrays(ends, pa.array(examples.offset_E[entries])),
        pa.ListArray.from_arrays(ends, pa.array(examples.value_E[entries])),
    ]


def _write(path: Path, schema: pa.Schema, total: int, columns: Callable[[slice], list[pa.Array]]) -> None:
    some = (slice(start, min(start + ROWS_PER_BATCH, total)) for start in range(0, total, ROWS_PER_BATCH))
    write_arrow(path, schema, (pa.RecordBatch.from_arrays(columns(rows), schema=schema) for rows in some))
