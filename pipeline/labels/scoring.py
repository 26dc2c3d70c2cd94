"""Scores of rules on text that they were not made from: precision, recall, and recall at each level.

Of a rule that says that a feature is active on some tokens, *precision* is the share of these tokens on which it is
active, *recall* the share of the sum of its activations that lies on them. The score is the harmonic mean of precision
and *strong recall*, the share of the sum of squared activations: what a feature is about is where it is strong, and
many have a long tail of weak activations that no few words tell.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.artifacts.features import LABEL_LEVELS
from pipeline.labels.pairs import Active
from pipeline.labels.rule import Condition, Rule
from pipeline.labels.text import RuleText
from pipeline.labels.traits import Flags

MIN_SAID = 3
"""Tokens that a rule must speak of: fewer prove nothing."""
STRONG, MIN_STRONG = 0.5, 10
"""A feature is judged by held-out text alone where at least so many tokens reach this part of its maximum there."""
LEAST_ACTIVE = 3
"""Tokens on which a feature must be active in all text that is read for it to be judged at all."""
MARGIN = 0.01
"""A rule that comes later must be better than an earlier one by this much."""


class Score(NamedTuple):
    """How well a rule tells where a feature is active."""

    precision: float
    recall: float
    """Of the sum of activations."""
    strong_recall: float
    """Of the sum of their squares."""
    said: int
    """Tokens that the rule speaks of."""

    @property
    def value(self) -> float:
        """The harmonic mean of precision and strong recall."""
        return harmonic_mean(self.precision, self.strong_recall)


def harmonic_mean(one: float, other: float) -> float:
    """Of two shares; 0 when both are 0."""
    return 2 * one * other / (one + other) if one + other else 0.0


class Tried(NamedTuple):
    """The best of some rules for a feature."""

    rule: Rule
    score: Score
    levels: list[float]
    """Share of the active tokens at or above each of LABEL_LEVELS that the rule names; NaN where there are none."""


class Needed(NamedTuple):
    """What a rule must reach to be considered."""

    score: float = 0.0
    precision: float = 0.0
    said: int = MIN_SAID
    """Tokens that it names."""


ANY = Needed()


class Scorer:
    """Tries rules on a text."""

    def __init__(self, text: RuleText) -> None:
        self.text = text

    def trial(self, active: Active, rare: bool, maximum: float) -> "Trial | None":
        """A trial of rules for one feature; None where it is active on too few tokens to judge any.

        rare: whether the text's training part counts too. maximum: of the feature, for the levels.
        """
        limit = self.text.num_tokens if rare else self.text.num_held_out
        stop = int(np.searchsorted(active.tokens, limit))
        if stop < LEAST_ACTIVE:
            return None
        return Trial(self.text, Active(active.tokens[:stop], active.values[:stop]), limit, maximum)


class Trial:
    """Rules against the active tokens of one feature.

    What a rule recalls is told by these tokens alone; the tokens that it names are counted only if that is enough.
    """

    def __init__(self, text: RuleText, active: Active, limit: int, maximum: float) -> None:
        self._text, self._active, self._limit, self._maximum = text, active, limit, maximum
        self._squares = np.square(active.values, dtype=np.float64)
        self._sum, self._sum_squares = float(active.values.sum(dtype=np.float64)), float(self._squares.sum())
        self._holds: dict[Condition, Flags] = {}

    def best(self, rules: Sequence[Rule], needed: Needed = ANY) -> Tried | None:
        """The rule of the best score, earlier ones preferred; None where none reaches what is needed."""
        best: tuple[Rule, Score] | None = None
        for rule in rules:
            score = self._score(rule, best[1].value + MARGIN if best else needed.score, needed)
            if score is not None:
                best = rule, score
        return Tried(*best, self._levels(best[0])) if best else None

    def _score(self, rule: Rule, above: float, needed: Needed) -> Score | None:
        """The score of a rule if it is above a value and the rule reaches what is needed."""
        named = self._named(rule)
        strong = float(self._squares[named].sum()) / self._sum_squares
        right = int(np.count_nonzero(named))
        if harmonic_mean(1.0, strong) <= above or right < needed.precision * needed.said:
            return None
        tokens = self._text.tokens(rule)
        said = int(np.searchsorted(tokens, self._limit))
        if said < needed.said or right < needed.precision * said:
            return None
        recall = float(self._active.values[named].sum(dtype=np.float64)) / self._sum
        score = Score(right / said, recall, strong, said)
        return score if score.value > above else None

    def _levels(self, rule: Rule) -> list[float]:
        """Recall of active tokens at or above each of LABEL_LEVELS."""
        named, values = self._named(rule), self._active.values
        above = [values >= np.float32(level * self._maximum) for level in LABEL_LEVELS]
        return [float(named[some].mean()) if some.any() else float("nan") for some in above]

    def _named(self, rule: Rule) -> Flags:
        """Which of the active tokens a rule names."""
        named = self._text.are_part(rule.part, self._active.tokens)
        for condition in rule.conditions:
            if condition not in self._holds:
                self._holds[condition] = self._text.holds(condition, self._active.tokens)
            named = named & self._holds[condition]
        return named
