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
    STATISTICS,
    STATISTICS_FILE,
    negligible_features,
)
from pipeline.arrays import Ints, ranges, unpack_tokens
from pipeline.examples.selection import Statistics
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


def write_statistics(folder: Path, statistics: Statistics, band_counts_FA: Ints, num_tokens: int) -> Tally:
    """Write statistics.arrow."""
    max_F, active_F = statistics.max_F, statistics.num_active_F
    mean_F = statistics.sum_F / np.maximum(active_F, 1)
    num_bands = band_counts_FA.shape[1]

    def columns(rows: slice) -> list[pa.Array]:
        histogram_BH, counts_BA = statistics.histogram_FH[rows], band_counts_FA[rows]
        ends = pa.array(np.arange(len(counts_BA) + 1) * num_bands, pa.int32())
        return [
            pa.array(np.arange(rows.start, rows.stop), pa.int32()),
            pa.array(active_F[rows], pa.int64()),
            pa.array(active_F[rows] / max(num_tokens, 1), pa.float32()),
            pa.array(max_F[rows], pa.float32()),
            pa.array(mean_F[rows], pa.float32()),
            pa.array(statistics.sum_squares_F[rows]),
            pa.FixedSizeListArray.from_arrays(pa.array(histogram_BH.reshape(-1), pa.int64()), HISTOGRAM_BINS),
            pa.array(histogram_BH[:, FLOOR_BIN:].sum(1)),
            pa.ListArray.from_arrays(ends, pa.array(counts_BA.reshape(-1), pa.int64())),
        ]

    _write(folder / STATISTICS_FILE, STATISTICS, len(max_F), columns)
    return Tally(int((max_F == 0).sum()), int(negligible_features(statistics.sum_squares_F).sum()))


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
        pa.array(examples.repeats_M[rows], pa.int32()),
    ]


def _write(path: Path, schema: pa.Schema, total: int, columns: Callable[[slice], list[pa.Array]]) -> None:
    some = (slice(start, min(start + ROWS_PER_BATCH, total)) for start in range(0, total, ROWS_PER_BATCH))
    write_arrow(path, schema, (pa.RecordBatch.from_arrays(columns(rows), schema=schema) for rows in some))
