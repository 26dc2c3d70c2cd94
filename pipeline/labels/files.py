"""What `explain` writes of an SAE: explanations.arrow and held_out.arrow (data.artifacts.features)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from data.arrow import write_arrow
from data.artifacts.features import (
    EXPLANATIONS,
    EXPLANATIONS_FILE,
    HELD_OUT,
    HELD_OUT_FILE,
)
from pipeline.labels.labeller import Label
from pipeline.labels.pairs import FeatureActivity
from pipeline.models.promoted import Promoted

FEATURES_PER_BATCH = 2048
ORIGIN = "statistics"


def write_explanations(
    folder: Path, labels: Iterator[list[Label]], promoted: Promoted, suppressed: Promoted
) -> dict[str, int]:
    """Write explanations.arrow; returns how many features have a label, and how many labels each text decided."""
    counts = {"num_labels": 0, "num_unlabelled": 0, "num_untested": 0}

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for some in labels:
            rows = slice(start, start + len(some))
            columns = {"index": pa.array(np.arange(rows.start, rows.stop), pa.int32()), **_columns(some)}
            for name, tokens in (("promoted", promoted), ("suppressed", suppressed)):
                columns[name] = _lists(tokens.token_FK[rows], pa.int32())
                columns[f"{name}_logits"] = _lists(tokens.logit_FK[rows], pa.float32())
            yield pa.RecordBatch.from_arrays([columns[name] for name in EXPLANATIONS.names], schema=EXPLANATIONS)
            start = rows.stop
            counts["num_labels"] += sum(label.text != "" for label in some)
            counts["num_unlabelled"] += sum(label.text == "" and label.words != () for label in some)
            counts["num_untested"] += sum(label.tried is None and label.words != () for label in some)

    write_arrow(folder / EXPLANATIONS_FILE, EXPLANATIONS, batches())
    return counts


def _columns(labels: Sequence[Label]) -> dict[str, pa.Array]:
    """The columns of EXPLANATIONS that speak of labels."""
    tried = [label.tried if label.text else None for label in labels]
    values: dict[str, list[Any]] = {
        "label": [label.text for label in labels],
        "label_origin": [ORIGIN] * len(labels),
        "label_score": [one.score.value if one else None for one in tried],
        "label_precision": [one.score.precision if one else None for one in tried],
        "label_recall": [one.score.recall if one else None for one in tried],
        "label_said": [one.score.said if one else None for one in tried],
        "label_levels": [[None if np.isnan(v) else v for v in one.levels] if one else [] for one in tried],
        "label_rule": [one.rule.to_json() if one else "" for one in tried],
        "label_tested": [label.tested_on if label.text else "" for label in labels],
        "top_words": [list(label.words) for label in labels],
        "specificity": [None] * len(labels),
    }
    return {name: pa.array(column, EXPLANATIONS.field(name).type) for name, column in values.items()}


def write_held_out(folder: Path, activity: FeatureActivity, num_held_out: int) -> None:
    """Write held_out.arrow: the held-out tokens on which each feature is active."""
    size = len(activity.starts_F) - 1
    kept = activity.kept(activity.token_K < num_held_out)
    tokens = pa.array(kept.token_K.astype(np.int32))
    lists = pa.ListArray.from_arrays(pa.array(kept.starts_F.astype(np.int32)), tokens)
    assert len(lists) == size
    rows = (lists.slice(start, FEATURES_PER_BATCH) for start in range(0, size, FEATURES_PER_BATCH))
    write_arrow(
        folder / HELD_OUT_FILE, HELD_OUT, (pa.RecordBatch.from_arrays([some], schema=HELD_OUT) for some in rows)
    )


def _lists(values_FK: Tensor, kind: pa.DataType) -> pa.ListArray:
    ends = pa.array(np.arange(len(values_FK) + 1) * values_FK.shape[1], pa.int32())
    return pa.ListArray.from_arrays(ends, pa.array(values_FK.reshape(-1).numpy(), kind))
