"""Curves over strengths as if measured: one that rises and breaks, one without texts, one that is flat."""

from pathlib import Path
from typing import Any

from data.artifacts.scores import JudgeReport, Trust
from pipeline.influence.responses import MAX_RATIO
from pipeline.influence.strength_files import Curve, write_curves
from pipeline.influence.strengths import HeldFeature, Point

RISING, SILENT, FLAT = 12, 13, 14
"""Features of every SAE: best at 2 and broken from 4 on; best at 3 by its words alone; never nearer."""
STRENGTHS = (-1.0, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0)
OPENINGS = ("I am a", "She is the")
TRUST = Trust(num_labels=16, num_questions=144, agreement=0.8, bias=-0.1, separation=0.86, low=0.8, high=0.92)
JUDGE = JudgeReport("sentences", "sentences", "an encoder", "", {"topic": TRUST}, 2, 300)
PLAIN_PERPLEXITY = 10.0


def make_curves(sae: str, hostile: str, words: tuple[int, ...]) -> list[Curve]:
    """The curves of one SAE. hostile: a text that is written at 2."""
    return [
        (HeldFeature(sae, RISING, "river", 9.0, words, "effects", False), _rising(hostile)),
        (HeldFeature(sae, SILENT, "", 9.0, words[:1], "effects", True), [_silent(s) for s in (None, *STRENGTHS)]),
        (HeldFeature(sae, FLAT, "river", 9.0, words, "peaks", True), [_flat(s) for s in (None, *STRENGTHS)]),
    ]


def _rising(hostile: str) -> list[Point]:
    scores = {None: 0.25, 0.5: 0.5, 1.0: 1.5, 2.0: 2.75, 3.0: 2.5}
    points = []
    for strength in (None, *STRENGTHS):
        held = strength or 0.0
        texts = tuple(f" {hostile if held == 2 else 'river' if held else 'teacher'} {place}" for place in OPENINGS)
        written = strength in scores
        points.append(
            Point(
                strength,
                probability=0.01 * (1 + max(held, 0)) ** 2,
                perplexity=PLAIN_PERPLEXITY * (1 + max(held, 0) ** 2 / 3),
                text_perplexity=4.0 + held if written else None,
                repeats=0.0 if written else None,
                score=scores.get(strength),
                texts=texts if written else (),
            )
        )
    return points


def _silent(strength: float | None) -> Point:
    return Point(strength, 0.01 + 0.01 * (strength or 0.0), PLAIN_PERPLEXITY * (6 if (strength or 0) > 3 else 1))


def _flat(strength: float | None) -> Point:
    return Point(strength, 0.02 if strength is None else 0.01, PLAIN_PERPLEXITY)


def write_strengths(folder: Path, saes: list[str], hostile: str, words: tuple[int, ...]) -> dict[str, Any]:
    """Write an artifact of stage `strengths`; its counts."""
    for name in saes:
        (folder / name).mkdir(exist_ok=True)
        write_curves(folder / name, make_curves(name, hostile, words), trusted=True)
    summary = {"num_measured": 3, "num_random": 2, "num_moved": 1, "median_break": 4.0}
    return {
        "why_none": None, "judge": JUDGE.as_json(), "why_unjudged": "", "trusted": True, "max_ratio": MAX_RATIO,
        "saes": dict.fromkeys(saes, summary),
    }  # fmt: skip
