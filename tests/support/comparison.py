"""A comparison as if features and neurons had been drawn, made from the examples of a run.

By judge `rule` features score 0.5 to 0.9 and neurons 0 to 0.4; by judge `guess` both score anything. The last neuron
has no label, and judge `guess` could not say what to make of the first feature.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow, write_arrow
from data.artifacts.comparison import (
    COMPARED,
    COMPARED_FILE,
    FIT,
    NEURONS_GROUP,
    Comparison,
    Group,
    GroupTest,
    Mean,
    Measure,
    write_comparison,
)
from data.artifacts.features import EXAMPLE_KINDS, EXAMPLES_FILE
from pipeline.comparison.statistics import compare, mean_interval

DRAWN = 14
"""Of every SAE, and of the neurons: more than a page of the list holds."""
MEASURES = (("", FIT), ("rule", "specificity"), ("rule", "detection"), ("guess", "specificity"))
HOSTILE_LABEL = "<script>alert(6)</script>"


def write_compared(folder: Path, examples: Path, saes: list[str], layer: int) -> dict[str, Any]:
    """Write an artifact of stage `compare`; its counts."""
    rng = np.random.default_rng(6)
    values = {name: _values(name, rng) for name in (*saes, NEURONS_GROUP)}
    rows = []
    for name in (*saes, NEURONS_GROUP):
        table = read_arrow(examples / (saes[0] if name == NEURONS_GROUP else name) / EXAMPLES_FILE)
        rows += _rows(name, table, values[name], layer)
    write_arrow(folder / COMPARED_FILE, COMPARED, pa.Table.from_pylist(rows, COMPARED).to_batches())
    comparison = Comparison(
        why_none="",
        num_layers=layer + 1,
        num_tokens=4000,
        num_held_out=1000,
        groups=tuple(Group(name, DRAWN, DRAWN // 2, 1, 0.05) for name in values),
        measures=tuple(_measure(place, values) for place in range(len(MEASURES))),
        left_out=("away: The recipe names no sentence encoder (embed.source).",),
    )
    write_comparison(folder, comparison)
    return comparison.as_json()


def _values(name: str, rng: np.random.Generator) -> np.ndarray:
    low = 0.0 if name == NEURONS_GROUP else 0.5
    found = low + 0.4 * rng.random((DRAWN, len(MEASURES)))
    found[:, 3] = rng.random(DRAWN)
    if name == NEURONS_GROUP:
        found[-1] = 0
    else:
        found[0, 3] = np.nan
    return found


def _measure(place: int, values: dict[str, np.ndarray]) -> Measure:
    known = {name: some[:, place][~np.isnan(some[:, place])] for name, some in values.items()}
    means = [Mean(name, len(some), *mean_interval(some, 0)) for name, some in known.items()]
    neurons = known.pop(NEURONS_GROUP)
    found = {name: compare(some, neurons, 0) for name, some in known.items()}
    tests = [GroupTest(name, *one.means, one.superiority, one.p, "means") for name, one in found.items()]
    return Measure(*MEASURES[place], tuple(means), tuple(tests))


def _rows(name: str, examples: pa.Table, values: np.ndarray, layer: int) -> list[dict[str, Any]]:
    found = [row for row in examples.to_pylist() if row["kind"] == EXAMPLE_KINDS.index("top") and row["rank"] < 2]
    rows, neurons = [], name == NEURONS_GROUP
    for place, index in enumerate(sorted({row["index"] for row in found})[:DRAWN]):
        mine = [row for row in found if row["index"] == index]
        label = "" if neurons and place == DRAWN - 1 else HOSTILE_LABEL if place == 0 else f"word {place}"
        rows.append(
            {
                "group": name, "index": index, "layer": place % (layer + 1) if neurons else layer,
                "threshold": 0.1, "max": max(row["activation"] for row in mine),
                "num_active": 200, "label": label, "label_rule": "", "telling": place % 2 == 0,
                "values": [None if np.isnan(value) else value for value in values[place].tolist()],
                "example_document": [row["document"] for row in mine],
                "example_document_id": [row["document_id"] for row in mine],
                "example_position": [row["position"] for row in mine],
                "example_start": [row["start"] for row in mine],
                "example_activation": [row["activation"] for row in mine],
                "example_values": [_window(row) for row in mine],
            }
        )  # fmt: skip
    assert len(rows) == DRAWN
    return rows


def _window(row: dict[str, Any]) -> list[float]:
    values = [0.0] * row["length"]
    for offset, value in zip(row["offsets"], row["values"], strict=True):
        values[offset] = value
    return values
