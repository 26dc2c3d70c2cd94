"""The label of each feature: what it is called everywhere, on pages, in lists, in the search and on the map.

Stage `explain` finds a label from statistics; stage `score` tries it against other candidates, and one that is better
beyond chance takes its place. Whatever comes after `score` reads labels here; `respond`, which `score` needs, can only
read those from statistics.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.arrow import read_arrow
from data.artifacts.candidates import CANDIDATES_FILE, JUDGE, ORIGINS, OTHER_RULE, RULE
from data.artifacts.features import EXPLANATIONS_FILE
from data.artifacts.scores import read_judges

NO_FIGURES: dict[str, Any] = {
    "label_score": None,
    "label_precision": None,
    "label_recall": None,
    "label_said": None,
    "label_levels": [],
    "label_tested": "",
}
"""Of a label that statistics did not try."""
STATISTICS_ORIGIN = "statistics"


def read_labels(explain: Path, score: Path, sae: str) -> pa.Table:
    """The explanations of an SAE's features, in which those that a candidate names have its label, without the figures
    of another. explain, score: the artifacts of these stages."""
    explanations = read_arrow(explain / sae / EXPLANATIONS_FILE)
    found = read_arrow(score / sae / CANDIDATES_FILE)
    named = found.filter(pc.and_(found["is_label"], pc.not_equal(found["origin"], RULE))).to_pylist()
    if not named:
        return explanations
    rows = explanations.take(pa.array([row["index"] for row in named])).to_pylist()
    new = [{**old, **NO_FIGURES, **_label(row, score)} for old, row in zip(rows, named, strict=True)]
    place_F = np.arange(len(explanations))
    place_F[[row["index"] for row in named]] = len(explanations) + np.arange(len(named))
    both = pa.concat_tables([explanations, pa.Table.from_pylist(new, explanations.schema)])
    return both.take(pa.array(place_F))


def _label(candidate: dict[str, Any], score: Path) -> dict[str, str]:
    """What a candidate is as a label."""
    origin = STATISTICS_ORIGIN if candidate["origin"] == OTHER_RULE else ORIGINS[candidate["origin"]]
    if candidate["origin"] == JUDGE:
        origin = read_judges(score)[candidate["proposer"]].name
    return {"label": candidate["text"], "label_origin": origin, "label_rule": candidate["rule"]}
