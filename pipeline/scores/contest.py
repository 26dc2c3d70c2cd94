"""Candidates for the label of a feature, tried on the same texts: which is best, and whether the feature is named so.

A label from statistics is a rule that was tried, exactly, on held-out text. A judge is a witness that errs. So it
renames a feature only where it is itself right about such rules nearly always (SURE), and where its preference is no
chance: a sign test over the texts on which the two labels differ, at LEVEL divided by the number of challengers.

Shapes: T texts of a feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import NamedTuple

import numpy as np

from data.artifacts.candidates import RULE, SURE
from data.artifacts.scores import JudgeReport, Trust
from pipeline.arrays import Mask
from pipeline.judges.protocol import Answer
from pipeline.judges.tasks import DETECTION, FUZZING, TASKS
from pipeline.scores.detection import Accuracy, ChosenTexts, LabelledText, accuracy
from pipeline.scores.sources import LabelCandidate

LEVEL = 0.05
NAMING = 0.8
"""Score from which on such a judge's best candidate names a feature that no rule names."""
FEWEST_TEXTS = 5
"""With a feature, and without: on fewer nothing is tried."""
TRYING = (DETECTION.name, FUZZING.name)


class Outcome(NamedTuple):
    """How a candidate does by one judge."""

    accuracy: Accuracy
    right_T: Mask
    """By text; one without an answer counts as wrong."""


@dataclass
class Contest:
    """The candidates of one feature."""

    place: int
    """Of the feature among those of its SAE."""
    candidates: list[LabelCandidate]
    """The label from statistics first, if there is one."""
    chosen: ChosenTexts
    """The texts."""
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    """Of each candidate, by number of the judge; one that cannot read a candidate has an outcome without answers."""

    @property
    def can_be_held(self) -> bool:
        """Whether there are enough texts."""
        return min(len(self.chosen.present_M), len(self.chosen.absent_P)) >= FEWEST_TEXTS

    def accuracy(self, judge: int, number: int) -> Accuracy | None:
        """How a judge does with a candidate; None where it did not try it, or cannot read it."""
        found = self.outcomes[judge][number].accuracy if judge in self.outcomes else None
        return found if found is not None and found.num else None

    def order(self, decider: int | None) -> list[int]:
        """Numbers of the candidates, the best by one judge first; in their own order where it tried none."""
        outcomes = self.outcomes.get(decider) if decider is not None else None
        numbers = list(range(len(self.candidates)))
        if outcomes is None:
            return numbers
        return sorted(numbers, key=lambda number: -outcomes[number].accuracy.balanced)

    def label(self, decider: int | None, may_name: bool) -> int | None:
        """The number of the candidate that the feature is called by; None where none names it well enough."""
        current = 0 if self.candidates and self.candidates[0].origin == RULE else None
        outcomes = self.outcomes.get(decider) if decider is not None else None
        if not may_name or not outcomes:
            return current
        best = self.order(decider)[0]
        if current is None:
            return best if outcomes[best].accuracy.balanced >= NAMING else None
        p = sign_test(outcomes[best].right_T, outcomes[current].right_T)
        return best if p < LEVEL / max(len(outcomes) - 1, 1) else current


def outcome_of(texts: Sequence[LabelledText], answers: Sequence[Answer]) -> Outcome:
    """The outcome of one candidate."""
    right = [
        answer.value is not None and (answer.value >= text.question.task.highest / 2) == text.activating
        for text, answer in zip(texts, answers, strict=True)
    ]
    return Outcome(accuracy(texts, answers), np.array(right, bool))


def sign_test(one_T: Mask, other_T: Mask) -> float:
    """The probability that chance alone makes the first right so much more often than the second, one-sided."""
    wins, losses = int((one_T & ~other_T).sum()), int((other_T & ~one_T).sum())
    total = wins + losses
    return sum(comb(total, k) for k in range(wins, total + 1)) / 2.0**total


def best_task(trust: Mapping[str, Trust]) -> str | None:
    """The task of detection and fuzzing at which a judge can be trusted most; None where at neither."""
    usable = [name for name in TASKS if name in TRYING and name in trust and trust[name].tells]
    return max(usable, key=lambda name: trust[name].low, default=None)


def find_decider(reports: Sequence[JudgeReport]) -> int | None:
    """Number of the most trusted of the judges that read labels: the label's own rule does not. None where none is."""
    able = {n: r.trust[task].low for n, r in enumerate(reports) if r.kind != "rule" and (task := best_task(r.trust))}
    return max(able, key=lambda number: able[number], default=None)


def common_task(reports: Sequence[JudgeReport], decider: int | None) -> str:
    """The task at which all candidates are tried: the decider's, else any judge's; "" where none can be trusted."""
    first = reports if decider is None else [reports[decider]]
    return next((task for report in first if (task := best_task(report.trust))), "")


def may_name(report: JudgeReport) -> bool:
    """Whether a judge is sure enough to change what a feature is called."""
    task = best_task(report.trust)
    return task is not None and report.trust[task].agreement >= SURE
