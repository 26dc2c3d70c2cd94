"""Labels for all features of an SAE, from the files of its examples to explanations.arrow (data.artifacts.features)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from torch import Tensor

from data.arrow import read_arrow, write_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLES_FILE, EXPLANATIONS, EXPLANATIONS_FILE, STATISTICS_FILE
from pipeline.labels.evidence import read_evidence
from pipeline.labels.rules import Label, Labeller
from pipeline.models.promoted import Promoted
from pipeline.progress import Progress

FEATURES_PER_BATCH = 2048
ORIGIN = "statistics"
DEAD = Label("", None)


def label_features(
    folder: Path, num_bands: int, corpus: TokenizedCorpus, labeller: Labeller, promoted: Promoted, progress: Progress
) -> Iterator[list[Label]]:
    """A label for every feature of an SAE, FEATURES_PER_BATCH at a time. folder: its part of the stage `examples`."""
    live = read_arrow(folder / STATISTICS_FILE)["max"].to_numpy() > 0
    examples = read_arrow(folder / EXAMPLES_FILE)
    index = examples["index"].to_numpy()
    for start in range(0, len(live), FEATURES_PER_BATCH):
        stop = min(start + FEATURES_PER_BATCH, len(live))
        low, high = np.searchsorted(index, (start, stop)).tolist()
        some = examples.slice(low, high - low)
        found = dict(read_evidence(some, num_bands, corpus, labeller.words, labeller.background))
        tokens = promoted.token_FK[start:stop].tolist()
        yield [labeller.label(found.get(f), tokens[f - start]) if live[f] else DEAD for f in range(start, stop)]
        progress.advance(stop - start)


def write_explanations(folder: Path, labels: Iterator[list[Label]], promoted: Promoted, suppressed: Promoted) -> int:
    """Write explanations.arrow; returns how many features have a label."""
    num_labels = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal num_labels
        start = 0
        for some in labels:
            rows = slice(start, start + len(some))
            index = pa.array(np.arange(rows.start, rows.stop), pa.int32())
            texts, scores = zip(*some, strict=True)
            columns = [index, pa.array(texts), pa.array([ORIGIN] * len(some))]
            columns += [pa.array(scores, pa.float32()), pa.nulls(len(some), pa.float32())]
            for tokens in (promoted, suppressed):
                columns += [_lists(tokens.token_FK[rows], pa.int32()), _lists(tokens.logit_FK[rows], pa.float32())]
            yield pa.RecordBatch.from_arrays(columns, schema=EXPLANATIONS)
            start = rows.stop
            num_labels += sum(label.text != "" for label in some)

    write_arrow(folder / EXPLANATIONS_FILE, EXPLANATIONS, batches())
    return num_labels


def _lists(values_FK: Tensor, kind: pa.DataType) -> pa.ListArray:
    ends = pa.array(np.arange(len(values_FK) + 1) * values_FK.shape[1], pa.int32())
    return pa.ListArray.from_arrays(ends, pa.array(values_FK.reshape(-1).numpy(), kind))
