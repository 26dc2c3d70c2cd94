"""Scores as if judges had been asked, made from the examples of a run.

Judge `rule` gives 3 to the upper half of the bands and 0 to the others; judge `guess` gives anything, and its figures
say so; judge `away` judged nothing.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow, write_arrow
from data.artifacts.features import EXAMPLE_KINDS, EXAMPLES_FILE
from data.artifacts.scores import JUDGED, JUDGED_FILE, SCORES, SCORES_FILE, JudgeReport, Trust, write_judges

SCORED = (0, 1, 2, 3, 7)
"""Features of every SAE that have scores, where they have examples."""
BANDS = 5
RIGHT = Trust(num_labels=40, num_questions=360, agreement=1.0, bias=0.0, separation=1.0, low=1.0, high=1.0)
GUESS = Trust(num_labels=16, num_questions=144, agreement=0.48, bias=0.12, separation=0.51, low=0.41, high=0.6)
JUDGES = [
    JudgeReport("rule", "rule", "the label's own rule", "", {"specificity": RIGHT, "detection": RIGHT}, 5, 900),
    JudgeReport("guess", "local", "a <b>guessing</b> model", "", {"specificity": GUESS}, 5, 300, 9000, 300, 0.25),
    JudgeReport("away", "sentences", "", "The recipe names no sentence encoder (embed.source)."),
]


def write_scores(folder: Path, examples: Path, saes: list[str]) -> dict[str, Any]:
    """Write an artifact of stage `score`; its counts."""
    write_judges(folder, JUDGES)
    rng = np.random.default_rng(5)
    for name in saes:
        (folder / name).mkdir(exist_ok=True)
        rows = _judged(read_arrow(examples / name / EXAMPLES_FILE), rng)
        write_arrow(folder / name / JUDGED_FILE, JUDGED, pa.Table.from_pylist(rows, JUDGED).to_batches())
        found = _scores(rows)
        write_arrow(folder / name / SCORES_FILE, SCORES, pa.Table.from_pylist(found, SCORES).to_batches())
    return {"judges": [judge.as_json() for judge in JUDGES], "bands": BANDS, "saes": {}, "random": {}}


def _judged(examples: pa.Table, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The interval examples of the scored features."""
    rows, ranks = [], {}
    for row in examples.to_pylist():
        if row["index"] in SCORED and row["kind"] == EXAMPLE_KINDS.index("interval"):
            key = row["index"], row["band"]
            ranks[key] = ranks.get(key, -1) + 1
            answers = [3.0 * (row["band"] >= BANDS // 2), float(rng.random() * 3), None]
            rows.append({**{n: row[n] for n in JUDGED.names if n in row}, "rank": ranks[key], "answers": answers})
    return sorted(rows, key=lambda row: (row["index"], -row["band"], row["rank"]))


def _scores(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    scores = []
    for index in sorted({row["index"] for row in rows}):
        own = [row for row in rows if row["index"] == index]
        for judge in (0, 1):
            bands = {row["band"] for row in own}
            means = [np.mean([row["answers"][judge] for row in own if row["band"] == band]) for band in bands]
            one = {"index": index, "judge": judge, "task": 0, "value": np.mean(means) / 3, "num": len(own)}
            scores.append({**one, "true_positive": None, "true_negative": None})
        scores.insert(
            len(scores) - 1,
            {
                "index": index,
                "judge": 0,
                "task": 1,
                "value": 0.75,
                "true_positive": 0.5,
                "true_negative": 1.0,
                "num": 8,
            },
        )
    return scores
