"""What a comparison found, in words."""

import math

from backend.html.formats import count, signed
from data.artifacts.comparison import FIT, NEURONS_GROUP, GroupTest, Measure

SURE = 0.05
"""A difference with a lower p, and an interval that leaves 0 out, is shown; another may be chance."""
P_TITLES = {
    "means": "A permutation test of the difference of means, two-sided: how often chance alone parts two like groups "
    "so far.",
    "ranks": "Of ranks, not of the difference: Mann and Whitney's test, two-sided. Newer runs test the difference.",
}
TITLES = {FIT: "Best rule", "specificity": "Specificity", "detection": "Detection", "fuzzing": "Fuzzing"}
ABOUT = {
    FIT: "How well its best rule tells where it is active, in text that the rule was not made from: the harmonic mean "
    "of the rule’s precision and of the share of strong activations that it names. No judge is needed. What is active "
    "more often, as neurons are, has it easier: more of what a rule names is right by chance.",
    "specificity": "Activations from the weakest to the strongest, each with its text: does the label say what is "
    "marked? The mean answer from 0 to 3 over all bands of the range, as a share of 3.",
    "detection": "Told by the label alone, which whole texts it is active in and which not: 50% is guessing.",
    "fuzzing": "Told by the label alone, whether the marked tokens are those on which it is active: 50% is guessing.",
}
LEAST_P = 1e-4
"""Permutations tell no smaller one."""
CHANCE = {"detection": 0.5, "fuzzing": 0.5}


def measure_title(measure: Measure) -> str:
    """The score, with the judge that gave it."""
    return f"{TITLES[measure.task]}, {measure.judge}" if measure.judge else TITLES[measure.task]


def verdict_of(measure: Measure) -> str:
    """One answer for all SAEs."""
    better = [test for test in measure.tests if is_shown(test) and test.difference > 0]
    worse = [test for test in measure.tests if is_shown(test) and test.difference < 0]
    if not measure.tests:
        return "Too few could be scored to compare them."
    if len(better) == len(measure.tests):
        return "Yes, by this score."
    if better and not worse:
        return f"Of {len(better)} of {len(measure.tests)} SAEs yes, by this score; of the rest no difference is shown."
    if worse:
        return f"No: of {len(worse)} of {len(measure.tests)} SAEs neurons do better by this score."
    return "No difference is shown by this score: what there is may be chance."


def is_shown(test: GroupTest) -> bool:
    """Whether its difference of means is more than chance: by its interval, and by p where p is of the difference."""
    return _leaves_out_0(test) and (test.p_of == "ranks" or test.p < SURE)


def _leaves_out_0(test: GroupTest) -> bool:
    return test.low > 0 or test.high < 0


def sentence_of(measure: Measure, test: GroupTest) -> str:
    """What is found of one SAE."""
    means = {mean.group: mean for mean in measure.means}
    mine, neurons = means[test.group], means[NEURONS_GROUP]
    found = (
        f"{test.group}: features {_percent(mine.mean)}, neurons {_percent(neurons.mean)}; a difference of "
        f"{difference_text(test)}."
    )
    if test.p_of == "ranks":
        return (
            f"{found} {'Its interval leaves 0 out.' if is_shown(test) else 'Its interval holds 0: it may be chance.'}"
        )
    if (test.p < SURE) != _leaves_out_0(test):
        return f"{found} Too close to tell: chance alone would part two like groups so far in {_often(test.p)}."
    if is_shown(test):
        return f"{found} Chance alone would part two like groups so far in {_often(test.p)}."
    return f"{found} Chance alone would often part two like groups so far ({_often(test.p)})."


def difference_text(test: GroupTest) -> str:
    """A difference from the neurons in points of the score, with its interval."""
    low, high = signed(100 * test.low, 0), signed(100 * test.high, 0)
    return f"{signed(100 * test.difference, 0)} points ({low} to {high})"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _often(p: float) -> str:
    """A probability as people count."""
    if p <= LEAST_P:
        return "at most one of 10,000 draws"
    if p < SURE:
        return f"one of {count(_round(1 / p))} draws"
    return f"{100 * p:.0f} of 100 draws"


def _round(value: float) -> int:
    """With two digits."""
    size: int = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return round(value / size) * size


def p_text(p: float) -> str:
    """A p of a test, with two digits where it is small."""
    return "≤ 0.0001" if p <= LEAST_P else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
