"""Writes what the examples stage found: statistics.arrow and examples.arrow of one SAE, see data.artifacts.features.

Shapes: F features, M examples, H histogram bins.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.arrow import write_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLES, EXAMPLES_FILE, HISTOGRAM_BINS, STATISTICS, STATISTICS_FILE
from pipeline.arrays import ranges, unpack_tokens
from pipeline.examples.selection import Statistics
from pipeline.examples.windows import Examples

ROWS_PER_BATCH = 1 << 16


def write_examples(folder: Path, examples: Examples, corpus: TokenizedCorpus) -> int:
    """Write examples.arrow batch by batch; returns the number of examples."""
    total = len(examples.rank_M)
    _write(folder / EXAMPLES_FILE, EXAMPLES, total, lambda rows: _example_columns(examples, corpus, rows))
    return total


def write_statistics(folder: Path, statistics: Statistics, max_F: np.ndarray, num_tokens: int) -> int:
    """Write statistics.arrow; returns the number of features that are never active.

    A feature whose every candidate turned out inactive in float32 was active by rounding alone: it is written as dead.
    """
    live_F = max_F > 0
    active_F = np.where(live_F, statistics.num_active_F, 0)
    mean_F = np.where(live_F, statistics.sum_F / np.maximum(active_F, 1), 0)

    def columns(rows: slice) -> list[pa.Array]:
        histogram = (statistics.histogram_FH[rows] * live_F[rows, None]).reshape(-1)
        return [
            pa.array(np.arange(rows.start, rows.stop), pa.int32()),
            pa.array(active_F[rows], pa.int64()),
            pa.array(active_F[rows] / max(num_tokens, 1), pa.float32()),
            pa.array(max_F[rows], pa.float32()),
            pa.array(np.minimum(mean_F[rows], max_F[rows]), pa.float32()),  # the sum may have been in bfloat16
            pa.FixedSizeListArray.from_arrays(pa.array(histogram, pa.int64()), HISTOGRAM_BINS),
        ]

    _write(folder / STATISTICS_FILE, STATISTICS, len(max_F), columns)
    return int((~live_F).sum())


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
