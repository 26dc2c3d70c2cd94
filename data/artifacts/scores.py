"""Artifact of stage `score`: what judges say of features, and how far each judge can be trusted.

    {sae}/judged.arrow    activations drawn evenly over the range of each feature that is scored, see JUDGED
    {sae}/scores.arrow    the scores of each feature, see SCORES
    judges.json           the judges in the order of the recipe: a list of JudgeReport

A judge is named in both tables by its number in that list.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

JUDGED_FILE = "judged.arrow"
SCORES_FILE = "scores.arrow"
JUDGES_FILE = "judges.json"

RUBRIC = 4
"""Answers of the specificity rubric: 0 to 3."""
LEAST_RANDOM = 10
"""Features of an SAE drawn at random without whose scores nothing is said of its labels as a whole."""
TASK_NAMES = ("specificity", "detection", "fuzzing")
"""In the order of their numbers."""

JUDGED = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),  # of the feature; rows are sorted by it, the highest band first
        pa.field("band", pa.int8(), nullable=False),  # of its range, 0 the lowest
        pa.field("rank", pa.int16(), nullable=False),  # in its band, in random order: the first so many are a sample
        pa.field("document", pa.int32(), nullable=False),  # row in the corpus's documents
        pa.field("document_id", pa.int64(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),  # of the token that was drawn, in its document
        pa.field("start", pa.int32(), nullable=False),  # position of the window's first token
        pa.field("length", pa.int16(), nullable=False),  # tokens in the window
        pa.field("activation", pa.float32(), nullable=False),  # at `position`
        pa.field("offsets", pa.list_(pa.int16()), nullable=False),  # of the window's tokens with activation above 0
        pa.field("values", pa.list_(pa.float32()), nullable=False),  # their activations; all other tokens have 0
        # By number of the judge, 0 to 3; null where it was not asked or could not say.
        pa.field("answers", pa.list_(pa.float32()), nullable=False),
    ]
)

SCORES = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),  # of the feature; rows are sorted by it, then judge, then task
        pa.field("judge", pa.int8(), nullable=False),
        pa.field("task", pa.int8(), nullable=False),  # number in TASK_NAMES
        # specificity: mean over the bands of the mean answer, as a share of the highest; detection, fuzzing: balanced
        # accuracy, the mean of the next two.
        pa.field("value", pa.float32(), nullable=False),
        pa.field("true_positive", pa.float32()),  # share of the texts with the feature of which the judge says so
        pa.field("true_negative", pa.float32()),  # share of the texts without it of which it says that
        pa.field("num", pa.int32(), nullable=False),  # answers that it rests on
    ]
)


@dataclass(frozen=True)
class Trust:
    """How well a judge does on labels whose truth is known, at one task."""

    num_labels: int
    num_questions: int
    agreement: float
    """Share of the questions on which it is on the right side of the middle; right and wrong count the same."""
    bias: float
    """Mean of its answers less the truth, as a share of the range, weighted in the same way; above 0 it is too kind."""
    separation: float
    """Probability that it puts a right label above a shuffled one (AUROC): one half is chance."""
    low: float
    high: float
    """Interval of `separation` at 95%, by resampling of labels."""

    @property
    def tells(self) -> bool:
        """Whether it can tell right labels from shuffled ones."""
        return self.low > 0.5


@dataclass(frozen=True)
class JudgeReport:
    """One judge of a run."""

    name: str
    kind: str
    about: str
    """What it is, as a phrase."""
    why_none: str = ""
    """The reason why it judged nothing, as a sentence; "" when it did."""
    trust: dict[str, Trust] = field(default_factory=dict)
    """By name of the task."""
    num_features: int = 0
    """Features that it judged."""
    questions: int = 0
    """Different questions, with those by which it was measured."""
    tokens_in: int = 0
    tokens_out: int = 0
    """Of all of them, as the judge counts tokens."""
    cost: float = 0.0
    """By the prices of the recipe."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """One from plain JSON."""
        return cls(**{**raw, "trust": {task: Trust(**trust) for task, trust in raw["trust"].items()}})


def write_judges(folder: Path, judges: list[JudgeReport]) -> None:
    """Write judges.json."""
    (folder / JUDGES_FILE).write_text(json.dumps([judge.as_json() for judge in judges], indent=1) + "\n")


def read_judges(folder: Path) -> list[JudgeReport]:
    """The judges of an artifact of stage `score`."""
    return [JudgeReport.from_json(raw) for raw in json.loads((folder / JUDGES_FILE).read_text())]
