"""Candidates for labels, with what judges say of each: a part of the artifact of stage `score`.

    {sae}/candidates.arrow    the candidates of each feature that is looked at, see LABEL_CANDIDATES
    {sae}/tried.arrow         the texts on which they were tried, see TRIED

None of these texts is one that a candidate was made from. A judge is named by its number in judges.json.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import pyarrow as pa

CANDIDATES_FILE = "candidates.arrow"
TRIED_FILE = "tried.arrow"

ORIGINS = ("rule", "judge", "other rule", "promoted tokens")
"""Where candidates come from, by number: the label from statistics, a judge that wrote it, a rule that comes next, the
tokens that the feature promotes."""
RULE, JUDGE, OTHER_RULE, PROMOTED = range(len(ORIGINS))
NO_JUDGE = -1
SURE = 0.9
"""Agreement with known truth from which on a judge may rename a feature."""

LABEL_CANDIDATES = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),  # of the feature; rows are sorted by it, then the best first
        pa.field("text", pa.string(), nullable=False),
        pa.field("origin", pa.int8(), nullable=False),  # number in ORIGINS
        pa.field("proposer", pa.int8(), nullable=False),  # the judge that wrote it, or NO_JUDGE
        pa.field("rule", pa.string(), nullable=False),  # JSON, see pipeline/labels/rule.py; "" where it is none
        pa.field("is_label", pa.bool_(), nullable=False),  # whether the feature is called so
        # By number of the judge: balanced accuracy, the mean of the next two; null where it did not try it.
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
        pa.field("true_positive", pa.list_(pa.float32()), nullable=False),
        pa.field("true_negative", pa.list_(pa.float32()), nullable=False),
    ]
)

TRIED = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),  # of the feature; rows are sorted by it, those with it first
        pa.field("active", pa.bool_(), nullable=False),  # whether the feature is active in it
        pa.field("document", pa.int32(), nullable=False),  # row in the corpus's documents
        pa.field("start", pa.int32(), nullable=False),  # position of the text's first token
        pa.field("length", pa.int16(), nullable=False),  # tokens
        pa.field("marked", pa.list_(pa.int16()), nullable=False),  # offsets of the tokens that are marked for `fuzzing`
    ]
)


@dataclass(frozen=True)
class CandidateReport:
    """How candidates were tried in a run."""

    task: str = ""
    """detection or fuzzing: that at which the decider can be trusted most; "" where no judge can be trusted."""
    judges: list[str] = field(default_factory=list)
    """Names of those that can be trusted at it, which tried them."""
    decider: str = ""
    """Name of the judge by whose scores they are ordered: the most trusted that reads labels; "" where none is."""
    may_name: bool = False
    """Whether it is sure enough to change what a feature is called."""
    num_features: int = 0
    num_named: int = 0
    """Features whose label is another than that from statistics."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """One from plain JSON."""
        return cls(**raw)
