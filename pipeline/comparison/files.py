"""The artifact of stage `compare`, see data/artifacts/comparison.py.

Shapes: C drawn, J measures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.comparison import COMPARED, NEURONS_GROUP, Group, GroupTest, Mean, Measure
from data.artifacts.corpus import TokenizedCorpus
from pipeline.comparison.drawing import Drawn
from pipeline.comparison.judging import MeasureName
from pipeline.comparison.labelling import Examples, Label, Shown
from pipeline.comparison.statistics import LEAST, compare, mean_interval


@dataclass(frozen=True)
class Compared:
    """A group with all that was found of it."""

    drawn: Drawn
    examples: Examples
    labels: Sequence[Label]
    shown: Sequence[Shown]
    value_CJ: npt.NDArray[np.float64]

    @property
    def name(self) -> str:
        return self.drawn.name

    def group(self, num_tokens: int) -> Group:
        """What is said of it as a whole."""
        density_C = self.drawn.num_active_C / max(num_tokens, 1)
        return Group(
            name=self.name,
            num=len(self.labels),
            num_telling=sum(label.telling for label in self.labels),
            num_passed_over=self.drawn.num_passed_over,
            density=float(np.median(density_C)) if len(density_C) else 0.0,
        )


def measure_all(groups: Sequence[Compared], names: Sequence[MeasureName], seed: int) -> list[Measure]:
    """The means and tests of every measure. groups: the neurons last."""
    found = []
    for place, name in enumerate(names):
        values = {one.name: one.value_CJ[:, place] for one in groups}
        known = {group: v_C[~np.isnan(v_C)] for group, v_C in values.items()}
        known = {group: v_C for group, v_C in known.items() if len(v_C) >= LEAST}
        means = [Mean(group, len(v_C), *mean_interval(v_C, seed)) for group, v_C in known.items()]
        neurons_M = known.pop(NEURONS_GROUP, None)
        tests = [] if neurons_M is None else [_test(group, v_C, neurons_M, seed) for group, v_C in known.items()]
        found.append(Measure(*name, tuple(means), tuple(tests)))
    return found


def _test(group: str, value_C: npt.NDArray[np.float64], neurons_M: npt.NDArray[np.float64], seed: int) -> GroupTest:
    found = compare(value_C, neurons_M, seed)
    return GroupTest(group, *found.means, found.superiority, found.p, "means")


def compared_table(groups: Iterable[Compared], corpus: TokenizedCorpus, layer: int, per_layer: int) -> pa.Table:
    """COMPARED. layer: that of the residual stream."""
    rows = [row for one in groups for row in _rows(one, corpus, layer, per_layer)]
    return pa.Table.from_pylist(rows, schema=COMPARED)


def _rows(one: Compared, corpus: TokenizedCorpus, layer: int, per_layer: int) -> Iterable[dict[str, Any]]:
    drawn, neurons = one.drawn, one.name == NEURONS_GROUP
    for place, (number, label, shown) in enumerate(zip(drawn.number_C.tolist(), one.labels, one.shown, strict=True)):
        yield {
            "group": one.name,
            "index": number % per_layer if neurons else number,
            "layer": number // per_layer if neurons else layer,
            "threshold": float(drawn.threshold_C[place]),
            "max": float(one.examples.max_C[place]),
            "num_active": int(drawn.num_active_C[place]),
            "label": label.text,
            "label_rule": label.rule,
            "telling": label.telling,
            "values": [None if np.isnan(value) else value for value in one.value_CJ[place].tolist()],
            "example_document": shown.document_E.tolist(),
            "example_document_id": corpus.document_ids[shown.document_E].tolist(),
            "example_position": shown.position_E.tolist(),
            "example_start": shown.start_E.tolist(),
            "example_activation": shown.activation_E.tolist(),
            "example_values": shown.values,
        }
