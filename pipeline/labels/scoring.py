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
from pipeline.arrays import Floats, Ints
from pipeline.labels.activity import Active
from pipeline.labels.rule import Condition, Rule
from pipeline.labels.text import RuleText

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
    """Share of the active tokens at or above each of LABEL_LEVELS on which the rule speaks; NaN where there are none."""


class Scorer:
    """Tries rules on a text."""

    def __init__(self, text: RuleText) -> None:
        self.text = text
        self._value_N = np.zeros(text.num_tokens, np.float32)

    def best(self, rules: Sequence[Rule], active: Active, rare: bool, maximum: float) -> Tried | None:
        """The rule of the best score, earlier ones preferred; None where nothing can be said.

        rare: whether the text's training part counts too. maximum: of the feature, for the levels.
        """
        limit = self.text.num_tokens if rare else self.text.num_held_out
        tokens = active.tokens[: np.searchsorted(active.tokens, limit)]
        values = active.values[: len(tokens)]
        if len(tokens) < LEAST_ACTIVE:
            return None
        self._value_N[tokens] = values
        total = _sums(values)
        best: tuple[Rule, Score] | None = None
        reach: dict[Condition, float] = {}
        for rule in rules:
            # No rule recalls more than any of its conditions alone does.
            most = min(reach.get(condition, 1.0) for condition in rule.conditions)
            if best is not None and harmonic_mean(1.0, most) <= best[1].value + MARGIN:
                continue
            score = self._score(rule, limit, total)
            if len(rule.conditions) == 1:
                reach[rule.conditions[0]] = score.strong_recall if score else 0.0
            if score is not None and (best is None or score.value > best[1].value + MARGIN):
                best = rule, score
        levels = self._levels(best[0], active._replace(tokens=tokens, values=values), maximum) if best else []
        self._value_N[tokens] = 0
        return Tried(*best, levels) if best else None

    def _score(self, rule: Rule, limit: int, total: tuple[float, float]) -> Score | None:
        values = self._value_N[self._said(rule, limit)]
        if len(values) < MIN_SAID:
            return None
        plain, squared = _sums(values)
        return Score(np.count_nonzero(values) / len(values), plain / total[0], squared / total[1], len(values))

    def _said(self, rule: Rule, limit: int) -> Ints:
        tokens = self.text.tokens(rule)
        return tokens if limit == self.text.num_tokens else tokens[: np.searchsorted(tokens, limit)]

    def _levels(self, rule: Rule, active: Active, maximum: float) -> list[float]:
        said = np.isin(active.tokens, self.text.tokens(rule), assume_unique=True, kind="sort")
        above = [active.values >= np.float32(level * maximum) for level in LABEL_LEVELS]
        return [float(said[some].mean()) if some.any() else float("nan") for some in above]


def _sums(values: Floats) -> tuple[float, float]:
    """Sums of some activations, and of their squares."""
    return float(values.sum(dtype=np.float64)), float(np.dot(values, values))
