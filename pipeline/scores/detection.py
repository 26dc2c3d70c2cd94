"""Detection and fuzzing, as EleutherAI's delphi defines them (Paulo et al. 2024).

Of each feature some texts in which it is active, from all bands of its range, and as many in which it is nowhere
active. *Detection*: the judge reads the plain text. *Fuzzing*: tokens are marked, where the feature is active at least
THRESHOLD times as much as at its strongest in that text; in texts without it, as many other tokens as are active in a
text with it on average. The score is the balanced accuracy of yes (a probability of at least one half) and no.
"""

import random
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np

from pipeline.arrays import Floats, Ints, unpack_tokens
from pipeline.judges.protocol import Answer, Place, Question
from pipeline.judges.tasks import DETECTION, FUZZING
from pipeline.scores.sampling import FeatureRows, Samples, Windows
from pipeline.scores.texts import WindowTexts

THRESHOLD = 0.3
FUZZ_SEED = 22
"""Of the tokens that are marked in a text without the feature; the same for every text, as in delphi."""


class LabelledText(NamedTuple):
    """A text, and whether the feature is active in it."""

    question: Question
    activating: bool


class Accuracy(NamedTuple):
    """How often a judge is right about a feature's texts; NaN where there are none of a kind."""

    true_positive: float
    true_negative: float
    num: int

    @property
    def balanced(self) -> float:
        """The mean of both, where a kind without texts counts 0."""
        found = [0.0 if np.isnan(rate) else rate for rate in (self.true_positive, self.true_negative)]
        return sum(found) / 2


class ExampleTexts:
    """Makes the texts of both tasks."""

    def __init__(self, texts: WindowTexts, samples: Samples, absent: Windows) -> None:
        self._texts, self._samples, self._absent = texts, samples, absent
        self._rows = FeatureRows(samples.feature_M)

    def windows(self, feature: int) -> Windows:
        """The windows of a feature's samples."""
        return self._samples.windows.take(self._rows.of(feature))

    def choose(
        self, feature: int, count: int, absent_P: np.ndarray, seed: int, usable_R: np.ndarray | None = None
    ) -> "ChosenTexts":
        """Samples of a feature, from its bands in turn, and windows without it; as many of both where there are.

        absent_P: whether each window is without it; usable_R: which of the feature's samples may be chosen, all by
        default.
        """
        mine = self._rows.of(feature)
        rows_M = np.arange(mine.start, mine.stop)[slice(None) if usable_R is None else usable_R]
        in_turn_M = rows_M[np.lexsort((-self._samples.band_M[rows_M], self._samples.rank_M[rows_M]))]
        without_P = np.random.default_rng([seed, feature]).permutation(np.flatnonzero(absent_P))
        num = min(count, len(in_turn_M), len(without_P))
        return ChosenTexts(in_turn_M[:num], without_P[:num])

    def detection(self, label: str, rule: str, chosen: "ChosenTexts") -> list[LabelledText]:
        """Plain texts."""
        positive = [self._plain(label, rule, self._samples.windows, int(m)) for m in chosen.present_M]
        negative = [self._plain(label, rule, self._absent, int(p)) for p in chosen.absent_P]
        return [*(LabelledText(q, True) for q in positive), *(LabelledText(q, False) for q in negative)]

    def fuzzing(self, label: str, rule: str, chosen: "ChosenTexts") -> list[LabelledText]:
        """Texts with marks."""
        present, absent = marked_tokens(self._samples, self._absent, chosen)
        positive = [
            self._marked(label, rule, self._samples.windows, int(m), marked)
            for m, marked in zip(chosen.present_M, present, strict=True)
        ]
        negative = [
            self._marked(label, rule, self._absent, int(p), marked)
            for p, marked in zip(chosen.absent_P, absent, strict=True)
        ]
        return [*(LabelledText(q, True) for q in positive), *(LabelledText(q, False) for q in negative)]

    def _plain(self, label: str, rule: str, windows: Windows, number: int) -> Question:
        sequence, start, stop = _bounds(windows, number)
        places = tuple(Place(sequence, at) for at in range(start, stop))
        return Question(DETECTION, label, self._texts.text(sequence, start, stop), rule, places)

    def _marked(self, label: str, rule: str, windows: Windows, number: int, marked: set[int]) -> Question:
        sequence, start, stop = _bounds(windows, number)
        places = tuple(Place(sequence, start + offset) for offset in sorted(marked))
        return Question(FUZZING, label, self._texts.text(sequence, start, stop, marked), rule, places)


class ChosenTexts(NamedTuple):
    """The texts of a feature."""

    present_M: Ints
    """Numbers of samples."""
    absent_P: Ints
    """Numbers of windows."""


def marked_tokens(samples: Samples, absent: Windows, chosen: ChosenTexts) -> tuple[list[set[int]], list[set[int]]]:
    """Offsets of the tokens that are marked in the texts with a feature, and in those without it."""
    found = [samples.active(int(m)) for m in chosen.present_M]
    if not found:
        return [], [set() for _ in chosen.absent_P]
    num_marked = ceil(sum(len(offsets) for offsets, _ in found) / len(found))
    lengths = (absent.stop_P - absent.start_P)[chosen.absent_P].tolist()
    present = [strong_tokens(offsets, values) for offsets, values in found]
    return present, [other_tokens(length, num_marked) for length in lengths]


def _bounds(windows: Windows, number: int) -> tuple[int, int, int]:
    sequence, _ = unpack_tokens(windows.token_P[number : number + 1])
    return int(sequence[0]), int(windows.start_P[number]), int(windows.stop_P[number])


def strong_tokens(offsets: Ints, values: Floats) -> set[int]:
    """Offsets of the tokens that are marked in a text with the feature."""
    return set(offsets[values >= THRESHOLD * values.max()].tolist())


def other_tokens(length: int, num_marked: int) -> set[int]:
    """Offsets of the tokens that are marked in a text of `length` tokens without the feature."""
    first = length - length // 4
    offsets = list(range(length))
    number = min(num_marked, length)
    draw = random.Random(FUZZ_SEED)
    if first >= length:
        return set(draw.sample(offsets, number))
    offsets.remove(first)
    return {first, *(draw.sample(offsets, number - 1) if number > 1 else ())}


def accuracy(texts: Sequence[LabelledText], answers: Sequence[Answer]) -> Accuracy:
    """Of the answers that there are. Yes is a value of at least half of the highest."""
    said = [
        (text.activating, answer.value >= text.question.task.highest / 2)
        for text, answer in zip(texts, answers, strict=True)
        if answer.value is not None
    ]
    right = {kind: [yes == kind for activating, yes in said if activating == kind] for kind in (True, False)}
    rates = [sum(found) / len(found) if found else float("nan") for found in right.values()]
    return Accuracy(rates[0], rates[1], len(said))
