"""The files of stage `score`."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from data.arrow import write_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.scores import JUDGED, JUDGED_FILE, SCORES, SCORES_FILE, TASK_NAMES
from pipeline.arrays import Ints, ranges, unpack_tokens
from pipeline.scores.asking import Found, ScoredSAE

ROWS_PER_BATCH = 8192


def write_scored(folder: Path, sae: ScoredSAE, found: Found, corpus: TokenizedCorpus) -> None:
    """Write judged.arrow and scores.arrow of one SAE."""
    folder.mkdir(exist_ok=True)
    index_C = np.array([one.index for one in sae.features], np.int64)
    write_arrow(folder / JUDGED_FILE, JUDGED, judged_table(sae, found, corpus, index_C).to_batches(ROWS_PER_BATCH))
    write_arrow(folder / SCORES_FILE, SCORES, scores_table(found, index_C).to_batches(ROWS_PER_BATCH))


def judged_table(sae: ScoredSAE, found: Found, corpus: TokenizedCorpus, index_C: Ints) -> pa.Table:
    """The samples of JUDGED, sorted."""
    samples = sae.samples
    index_M = index_C[samples.feature_M]
    order = np.lexsort((samples.rank_M, -samples.band_M, index_M))
    sequence_M, position_M = unpack_tokens(samples.windows.token_P[order])
    document_M = corpus.sequences["document"][sequence_M]
    length_M = (samples.windows.stop_P - samples.windows.start_P)[order]
    place_E = ranges(samples.first_M[order], samples.count_M[order])
    ends = np.concatenate([[0], np.cumsum(samples.count_M[order])]).astype(np.int32)
    answers_MJ = found.answers_MJ[order]
    columns = {
        "index": index_M[order],
        "band": samples.band_M[order],
        "rank": samples.rank_M[order],
        "document": document_M,
        "document_id": corpus.document_ids[document_M],
        "position": position_M,
        "start": samples.windows.start_P[order],
        "length": length_M,
        "activation": samples.value_M[order],
        "offsets": pa.ListArray.from_arrays(ends, pa.array(samples.offset_E[place_E], pa.int16())),
        "values": pa.ListArray.from_arrays(ends, pa.array(samples.value_E[place_E], pa.float32())),
        "answers": _answers(answers_MJ),
    }
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, JUDGED.field(name).type)
        for name, column in columns.items()
    ]
    return pa.Table.from_arrays(arrays, schema=JUDGED)


def _answers(answers_MJ: np.ndarray) -> pa.Array:
    """One list for each sample, with null for NaN."""
    flat = answers_MJ.reshape(-1)
    ends = (np.arange(len(answers_MJ) + 1) * answers_MJ.shape[1]).astype(np.int32)
    return pa.ListArray.from_arrays(ends, pa.array(flat, pa.float32(), mask=np.isnan(flat)))


def scores_table(found: Found, index_C: Ints) -> pa.Table:
    """The scores of SCORES, sorted."""
    rows = [
        {
            "index": int(index_C[score.feature]),
            "judge": score.judge,
            "task": TASK_NAMES.index(score.task),
            "value": score.value,
            "true_positive": _rate(score.rates, 0),
            "true_negative": _rate(score.rates, 1),
            "num": score.num,
        }
        for score in found.scores
    ]
    rows.sort(key=lambda row: (row["index"], row["judge"], row["task"]))
    return pa.Table.from_pylist(rows, schema=SCORES)


def _rate(rates: tuple[float, float] | None, place: int) -> float | None:
    return None if rates is None or np.isnan(rates[place]) else rates[place]
