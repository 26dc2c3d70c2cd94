"""Random features against random neurons, as a run published them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.published.catalogue import OpenRun
from backend.published.examples import Example, read_examples
from data.artifacts.comparison import NEURONS_GROUP, Comparison, Group
from data.artifacts.features import TOP

NOT_COMPARED = "This run compared none."


@dataclass(frozen=True, slots=True)
class ComparedUnit:
    """A feature or a neuron that was drawn."""

    group: str
    """Name of its SAE, or "neurons"."""
    index: int
    """Of the feature in its SAE, or of the neuron in its layer."""
    layer: int
    """Of the neuron; of the residual stream that the SAE reads."""
    threshold: float
    """It counts as active above this."""
    max: float
    """Over the training tokens read."""
    num_active: int
    """Of the training tokens read, those on which it is active."""
    label: str
    """Its best rule in words; "" where none fits at all."""
    telling: bool
    """Whether that rule tells enough to be the label of a feature."""
    values: list[float | None]
    """By measure of the comparison; None where a judge could not say."""
    examples: list[Example]
    """Its strongest in the text that was read."""


def get_comparison(run: OpenRun) -> Comparison:
    """What was compared, or why nothing was."""
    return run.once(_read)


def _read(run: OpenRun) -> Comparison:
    found = run.record.corpus.get("compare")
    return Comparison.from_json(found) if found else Comparison(NOT_COMPARED)


def find_group(comparison: Comparison, name: str) -> Group | None:
    """A group by name; None where there is none."""
    return next((group for group in comparison.groups if group.name == name), None)


def first_row(comparison: Comparison, name: str) -> int:
    """Row of file `compared` at which a group begins."""
    names = [group.name for group in comparison.groups]
    return sum(group.num for group in comparison.groups[: names.index(name)])


def get_values(run: OpenRun) -> npt.NDArray[np.float64]:
    """Every measure of all that was drawn [rows of file `compared`, measures]; NaN for none."""
    return run.once(_read_values)


def _read_values(run: OpenRun) -> npt.NDArray[np.float64]:
    comparison = get_comparison(run)
    rows = range(sum(group.num for group in comparison.groups))
    found = run.tables.take("compared", rows, ["values"])["values"].to_pylist()
    return np.array(found, np.float64).reshape(len(found), len(comparison.measures))


def get_units(run: OpenRun, rows: list[int]) -> list[ComparedUnit]:
    """What was drawn, by row, with examples, in a fixed number of reads."""
    records: list[dict[str, Any]] = run.tables.take("compared", rows).to_pylist()
    places = [(record, k) for record in records for k in range(len(record["example_position"]))]
    found = [_example(record, k) for record, k in places]
    examples = iter(read_examples(run, found, [record["max"] for record, _ in places]))
    names = ("group", "index", "layer", "threshold", "max", "num_active", "label", "telling", "values")
    return [
        ComparedUnit(
            **{name: record[name] for name in names}, examples=[next(examples) for _ in record["example_position"]]
        )
        for record in records
    ]


def _example(record: dict[str, Any], k: int) -> dict[str, Any]:
    values = record["example_values"][k]
    return {
        "kind": TOP,
        "rank": k,
        "band": -1,
        "document": record["example_document"][k],
        "document_id": record["example_document_id"][k],
        "position": record["example_position"][k],
        "start": record["example_start"][k],
        "length": len(values),
        "activation": record["example_activation"][k],
        "pre_activation": record["example_activation"][k],
        "offsets": list(range(len(values))),
        "values": values,
        "repeats": 0,
    }


def is_neuron(unit: ComparedUnit) -> bool:
    """Whether it is a neuron."""
    return unit.group == NEURONS_GROUP
