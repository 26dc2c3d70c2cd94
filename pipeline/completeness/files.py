"""The artifact of stage `completeness` as tables, see data/artifacts/completeness.py.

Shapes: N concepts, C candidates, F features of one SAE, K activations.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data.artifacts.completeness import ACTIVITY, CANDIDATES, CONCEPTS
from data.concepts.specificity import Activations, Candidates, Fired, Verdicts
from pipeline.arrays import Ints, Mask
from pipeline.completeness.lists import AllConcepts

FEATURES_PER_BATCH = 1 << 16


class Measured(NamedTuple):
    """What was found of one SAE."""

    candidates: Candidates
    fired: Fired
    read_C: Mask
    """Whether the examples of each were looked at."""
    text: tuple[Ints, Ints]
    """Of these, the examples on its concept, and all [C]."""
    verdicts: Verdicts

    def represented(self, num_concepts: int) -> Mask:
        """Whether each concept has a feature of its own [N]."""
        found_N = np.zeros(num_concepts, bool)
        found_N[self.candidates.concept_C[self.verdicts.specific_C]] = True
        return found_N


def concepts_table(all_: AllConcepts, occurrences_N: Ints) -> pa.Table:
    """CONCEPTS of a run."""
    columns = [
        pa.array(all_.list_of, pa.int16()),
        pa.array([one.name for one in all_.concepts]),
        pa.array([list(one.spellings[1:]) for one in all_.concepts], pa.list_(pa.string())),
        pa.array(occurrences_N, pa.int64()),
    ]
    return pa.Table.from_arrays(columns, schema=CONCEPTS)


def candidates_table(found: Measured) -> pa.Table:
    """CANDIDATES of one SAE."""
    candidates, fired, (on_C, num_C) = found.candidates, found.fired, found.text
    nearest_C = np.zeros(len(candidates.concept_C), bool)
    nearest_C[found.verdicts.nearest_N[found.verdicts.nearest_N >= 0]] = True
    columns = {
        "index": pa.array(candidates.feature_C, pa.int32()),
        "concept": pa.array(candidates.concept_C, pa.int32()),
        "rank": pa.array(candidates.rank_C, pa.int8()),
        "mean": pa.array(candidates.mean_C),
        "own": pa.array(fired.own_C, pa.int16()),
        "others": pa.array(fired.others_C, pa.int32()),
        "num_rivals": pa.array(fired.num_rivals_C, pa.int32()),
        "rivals": _rivals(fired),
        "num_examples_read": pa.array(num_C, pa.int16(), mask=~found.read_C),
        "num_on_concept": pa.array(on_C, pa.int16(), mask=~found.read_C),
        "specific": pa.array(found.verdicts.specific_C),
        "nearest": pa.array(nearest_C),
    }
    return pa.Table.from_arrays([columns[name] for name in CANDIDATES.names], schema=CANDIDATES)


def _rivals(fired: Fired) -> pa.ListArray:
    ends = np.concatenate([[0], np.cumsum(fired.num_named_C)])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(fired.rival_R, pa.int32()))


def activity_batches(found: Activations, num_features: int) -> Iterator[pa.RecordBatch]:
    """ACTIVITY of one SAE."""
    for start in range(0, num_features, FEATURES_PER_BATCH):
        stop = min(start + FEATURES_PER_BATCH, num_features)
        ends = np.searchsorted(found.feature_K, np.arange(start, stop + 1))
        some, offsets = slice(ends[0], ends[-1]), pa.array(ends - ends[0], pa.int32())
        lists = [
            pa.ListArray.from_arrays(offsets, pa.array(found.prompt_K[some], pa.int32())),
            pa.ListArray.from_arrays(offsets, pa.array(found.value_K[some], pa.float32())),
        ]
        yield pa.RecordBatch.from_arrays(lists, schema=ACTIVITY)
