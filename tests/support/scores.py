"""Scores as if judges had been asked, made from the examples of a run.

Judge `rule` gives 3 to the upper half of the bands and 0 to the others; judge `guess` gives anything, and its figures
say so; judge `away` judged nothing; judge `near` tried candidates for labels.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow, write_arrow
from data.artifacts.candidates import (
    CANDIDATES_FILE,
    JUDGE,
    LABEL_CANDIDATES,
    NO_JUDGE,
    PROMOTED,
    RULE,
    TRIED,
    TRIED_FILE,
    CandidateReport,
)
from data.artifacts.features import EXAMPLE_KINDS, EXAMPLES_FILE, EXPLANATIONS_FILE
from data.artifacts.scores import JUDGED, JUDGED_FILE, SCORES, SCORES_FILE, TASK_NAMES, JudgeReport, Trust, write_judges

SCORED = (0, 1, 2, 3, 7)
"""Features of every SAE that have scores, where they have examples."""
BANDS = 5
RIGHT = Trust(num_labels=40, num_questions=360, agreement=1.0, bias=0.0, separation=1.0, low=1.0, high=1.0)
FAIR = Trust(num_labels=40, num_questions=360, agreement=0.82, bias=-0.08, separation=0.92, low=0.87, high=0.96)
GUESS = Trust(num_labels=16, num_questions=144, agreement=0.48, bias=0.12, separation=0.51, low=0.41, high=0.6)
JUDGES = [
    JudgeReport("rule", "rule", "the label's own rule", "", dict.fromkeys(TASK_NAMES, RIGHT), 5, 900),
    JudgeReport("guess", "local", "a <b>guessing</b> model", "", {"specificity": GUESS}, 5, 300, 9000, 300, 0.25),
    JudgeReport("away", "sentences", "", "The recipe names no sentence encoder (embed.source)."),
    JudgeReport("near", "sentences", "a sentence encoder", "", {"fuzzing": FAIR}, 5, 200),
]
PROPOSED = "<i>rain</i> & wind"
"""What judge `guess` calls every scored feature; it stands first, and names none."""
CANDIDATES_REPORT = CandidateReport("fuzzing", ["rule", "near"], "near", False, 15, 0)
TRIED_TEXTS = 3
"""Texts with each feature, and without."""


SUMMARY = [
    {"judge": judge, "task": task, "num": 40, "mean": mean, "low": mean - 0.05, "high": mean + 0.05}
    for judge, task, mean in (
        ("rule", "specificity", 0.62), ("rule", "fuzzing", 0.81), ("away", "specificity", 0.3),
        ("guess", "specificity", 0.5),
    )
]  # fmt: skip
"""Mean scores of the first SAE's random features; no judge but the first can be trusted."""


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
        scored, labels = sorted({row["index"] for row in rows}), examples.parent / "explain" / name / EXPLANATIONS_FILE
        found = [one for index in scored for one in _candidates(index, read_arrow(labels)["label"][index].as_py())]
        write_arrow(
            folder / name / CANDIDATES_FILE,
            LABEL_CANDIDATES,
            pa.Table.from_pylist(found, LABEL_CANDIDATES).to_batches(),
        )
        found = [one for index in scored for one in _tried(index, rows)]
        write_arrow(folder / name / TRIED_FILE, TRIED, pa.Table.from_pylist(found, TRIED).to_batches())
    judges = {"judges": [judge.as_json() for judge in JUDGES], "candidates": CANDIDATES_REPORT.as_json()}
    return {**judges, "bands": BANDS, "saes": {}, "summary": {saes[0]: SUMMARY}}


def _candidates(index: int, label: str) -> list[dict[str, Any]]:
    """Three of a feature, the best by judge `near` first."""

    def row(text: str, origin: int, scores: list[float | None], proposer: int = NO_JUDGE) -> dict[str, Any]:
        rates = {"true_positive": scores, "true_negative": scores}
        named = {"is_label": origin == RULE, "rule": "", "scores": scores}
        return {"index": index, "text": text, "origin": origin, "proposer": proposer, **named, **rates}

    return [
        row(PROPOSED, JUDGE, [None, None, None, 0.9], 1),
        row(label, RULE, [1.0, None, None, 0.75]),
        row("promoted, words", PROMOTED, [None, None, None, 0.5]),
    ]


def _tried(index: int, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Windows of the feature's own judged activations, and of other features'."""
    own = [row for row in rows if row["index"] == index][:TRIED_TEXTS]
    others = [row for row in rows if row["index"] != index][:TRIED_TEXTS]
    return [
        {
            **{name: row[name] for name in ("document", "start", "length")},
            "index": index,
            "active": active,
            "marked": [row["position"] - row["start"]],
        }
        for active, some in ((True, own), (False, others))
        for row in some
    ]


def _judged(examples: pa.Table, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The interval examples of the scored features."""
    rows, ranks = [], {}
    for row in examples.to_pylist():
        if row["index"] in SCORED and row["kind"] == EXAMPLE_KINDS.index("interval"):
            key = row["index"], row["band"]
            ranks[key] = ranks.get(key, -1) + 1
            answers = [3.0 * (row["band"] >= BANDS // 2), float(rng.random() * 3), None, None]
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


def let_proposal_win(score: Path, sae: str, index: int) -> None:
    """Have a scored feature called PROPOSED. score: the artifact, whose manifest no longer fits."""
    path = score / sae / CANDIDATES_FILE
    rows = read_arrow(path).to_pylist()
    for row in rows:
        if row["index"] == index:
            row["is_label"] = row["origin"] == JUDGE
    write_arrow(path, LABEL_CANDIDATES, pa.Table.from_pylist(rows, LABEL_CANDIDATES).to_batches())
