"""Artifact of stage `compare`: random features of every SAE against random MLP neurons.

    compared.arrow     what was drawn, see COMPARED: group after group, each in random order
    comparison.json    a Comparison: the means of each group by every measure, and the tests against the neurons

How it is measured: pipeline/comparison/ and docs/method.md, *Random features against random neurons*.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa

COMPARED_FILE = "compared.arrow"
COMPARISON_FILE = "comparison.json"

NEURONS_GROUP = "neurons"
"""Name of the group of neurons; the others have the names of their SAEs."""
FIT = "fit"
"""The measure that needs no judge: how well its rule tells where a feature or neuron is active in held-out text."""

COMPARED = pa.schema(
    [
        pa.field("group", pa.string(), nullable=False),  # name of the SAE, or NEURONS_GROUP
        pa.field("index", pa.int32(), nullable=False),  # of the feature; of the neuron in its layer
        pa.field("layer", pa.int16(), nullable=False),  # of the neuron; of the residual stream that the SAE reads
        pa.field("threshold", pa.float32(), nullable=False),  # it counts as active above this
        pa.field("max", pa.float32(), nullable=False),  # over the training tokens read
        pa.field("num_active", pa.int32(), nullable=False),  # training tokens on which it is active, of those read
        pa.field("label", pa.string(), nullable=False),  # of its best rule, good or not; "" where no rule fits at all
        pa.field("label_rule", pa.string(), nullable=False),  # JSON, see pipeline/labels/rule.py; "" without one
        pa.field("telling", pa.bool_(), nullable=False),  # whether the rule tells enough to be the label of a feature
        pa.field("values", pa.list_(pa.float32()), nullable=False),  # by measure of the comparison; null for none
        # Its strongest examples in the training text that was read, the strongest first.
        pa.field("example_document", pa.list_(pa.int32()), nullable=False),  # row in the corpus's documents
        pa.field("example_document_id", pa.list_(pa.int64()), nullable=False),
        pa.field("example_position", pa.list_(pa.int32()), nullable=False),
        pa.field("example_start", pa.list_(pa.int32()), nullable=False),  # position of the window's first token
        pa.field("example_activation", pa.list_(pa.float32()), nullable=False),  # at the position
        pa.field("example_values", pa.list_(pa.list_(pa.float32())), nullable=False),  # of every token of the window
    ]
)


@dataclass(frozen=True)
class Mean:
    """A group by one measure."""

    group: str
    num: int
    mean: float
    low: float
    high: float
    """Interval of the mean at 95%, by resampling."""


@dataclass(frozen=True)
class GroupTest:
    """A group of features against the neurons, by one measure."""

    group: str
    difference: float
    """Mean of the features less that of the neurons."""
    low: float
    high: float
    """Its interval at 95%, by resampling."""
    superiority: float
    """Probability that a random feature has more than a random neuron, equal ones counted half: one half is no
    difference."""
    p: float
    """Two-sided, of a test of `p_of`: how often chance alone would part like groups so far."""
    p_of: Literal["means", "ranks"] = "ranks"
    """Of the difference of means, by permutations; or, in older comparisons, which do not say it, of ranks by Mann and
    Whitney's test, which is no test of the difference."""


@dataclass(frozen=True)
class Measure:
    """The groups by one score."""

    judge: str
    """Its name; "" for FIT, which needs none."""
    task: str
    """FIT, specificity, detection or fuzzing."""
    means: tuple[Mean, ...]
    """Of every group that has values, the neurons last."""
    tests: tuple[GroupTest, ...]
    """Of every group of features, where neurons have values."""

    @property
    def key(self) -> str:
        """Its name in addresses: the task alone, or with the judge before it."""
        return f"{self.judge}-{self.task}" if self.judge else self.task

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """One from plain JSON."""
        means, tests = (Mean(**one) for one in raw["means"]), (GroupTest(**one) for one in raw["tests"])
        return cls(raw["judge"], raw["task"], tuple(means), tuple(tests))


@dataclass(frozen=True)
class Group:
    """What was drawn of one SAE, or of the neurons."""

    name: str
    num: int
    num_telling: int
    """Of these, how many have a rule that tells enough to be the label of a feature."""
    num_passed_over: int
    """Drawn and passed over, for they are active on too few of the tokens read."""
    density: float
    """Median share of the training tokens read on which one is active."""


@dataclass(frozen=True)
class Comparison:
    """All that is said of the groups."""

    why_none: str
    """The reason why nothing was compared, as a sentence; "" when something was."""
    num_layers: int = 0
    """Layers whose neurons were drawn, from 0 on."""
    num_tokens: int = 0
    """Training tokens read."""
    num_held_out: int = 0
    groups: tuple[Group, ...] = ()
    """SAEs in the order of the recipe, the neurons last."""
    measures: tuple[Measure, ...] = ()
    left_out: tuple[str, ...] = ()
    """Judges of the recipe that were not asked, and why."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """One from plain JSON."""
        measures = tuple(Measure.from_json(one) for one in raw["measures"])
        groups = tuple(Group(**one) for one in raw["groups"])
        return cls(**{**raw, "groups": groups, "measures": measures, "left_out": tuple(raw["left_out"])})


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write comparison.json."""
    (folder / COMPARISON_FILE).write_text(json.dumps(comparison.as_json(), indent=1, allow_nan=False) + "\n")


def read_comparison(folder: Path) -> Comparison:
    """The comparison of an artifact of stage `compare`."""
    return Comparison.from_json(json.loads((folder / COMPARISON_FILE).read_text()))
