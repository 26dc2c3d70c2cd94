"""Scores of rules on text that they were not made from: precision, recall, and recall at each level.

Of a rule that says that a feature is active on some tokens, *precision* is the share of these tokens on which it is
active, *recall* the share of the sum of its activations that lies on them. The score is the harmonic mean of precision
and *strong recall*, the share of the sum of squared activations: what a feature is about is where it is strong, and
many have a long tail of weak activations that no few words tell.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from data.artifacts.features import LABEL_LEVELS
from pipeline.labels.pairs import Active
from pipeline.labels.rule import Condition, Part, Rule
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
SLACK = 1 + 1e-9
"""What adding up in another order moves a sum by, at most; so a rule of several conditions is not tried in vain."""


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
        self._parts: dict[Part, Flags] = {}
        self._holds: dict[tuple[Part, Condition], _Held] = {}
        self._tried: dict[Rule, _Held] = {}
        self._said: dict[Rule, int] = {}

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
        least = needed.precision * needed.said
        if len(rule.conditions) > 1:
            for condition in rule.conditions:  # a rule of several names no more tokens than any of them
                one = self._held(rule.part, condition)
                if one.right < least or harmonic_mean(1.0, one.strong * SLACK) <= above:
                    return None
        held = self._held_by(rule)
        if harmonic_mean(1.0, held.strong) <= above or held.right < least:
            return None
        if (said := self._said.get(rule)) is None:
            said = self._said[rule] = self._text.count(rule, self._limit)
        if said < needed.said or held.right < needed.precision * said:
            return None
        recall = float(self._active.values[held.flags].sum(dtype=np.float64)) / self._sum
        score = Score(held.right / said, recall, held.strong, said)
        return score if score.value > above else None

    def _levels(self, rule: Rule) -> list[float]:
        """Recall of active tokens at or above each of LABEL_LEVELS."""
        flags = self._held_by(rule).flags
        return [float(np.count_nonzero(flags & some) / count) if count else float("nan") for some, count in self._above]

    @cached_property
    def _above(self) -> list[tuple[Flags, int]]:
        """The active tokens at or above each of LABEL_LEVELS, and how many they are."""
        above = [self._active.values >= np.float32(level * self._maximum) for level in LABEL_LEVELS]
        return [(some, int(np.count_nonzero(some))) for some in above]

    def _held_by(self, rule: Rule) -> "_Held":
        """The active tokens that a rule names."""
        if len(rule.conditions) == 1:
            return self._held(rule.part, rule.conditions[0])
        if (found := self._tried.get(rule)) is None:
            flags = [self._held(rule.part, condition).flags for condition in rule.conditions]
            found = self._tried[rule] = self._weigh(np.logical_and.reduce(flags))
        return found

    def _held(self, part: Part, condition: Condition) -> "_Held":
        """The active tokens that are a part of their words and at which a condition holds."""
        if (found := self._holds.get((part, condition))) is None:
            flags = self._text.holds(condition, self._active.tokens)
            if part != "any":
                flags = flags & self._part(part)
            found = self._holds[part, condition] = self._weigh(flags)
        return found

    def _part(self, part: Part) -> Flags:
        if part not in self._parts:
            self._parts[part] = self._text.are_part(part, self._active.tokens)
        return self._parts[part]

    def _weigh(self, flags: Flags) -> "_Held":
        strong = float(np.add.reduce(self._squares[flags])) / self._sum_squares
        return _Held(flags, strong, int(np.count_nonzero(flags)))


class _Held(NamedTuple):
    """Active tokens at which something holds."""

    flags: Flags
    strong: float
    """Their share of the sum of squared activations."""
    right: int
    """How many they are."""
