"""Means of groups with their intervals, and tests of two groups.

Shapes: N values of one group, M of the other.
"""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Values = npt.NDArray[np.float64]
LEVEL, RESAMPLES, PERMUTATIONS, AT_ONCE = 0.95, 2000, 9999, 250
LEAST = 2
"""Values of a group without which nothing is said of it."""


class Interval(NamedTuple):
    """A figure and its interval at LEVEL."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """One group against another."""

    means: Interval
    """Of the first group's mean less the second's."""
    superiority: float
    """Probability that one of the first has more than one of the second; equal ones count half."""
    p: float
    """Two-sided, of the difference of means: of a permutation test."""


def mean_interval(value_N: Values, seed: int) -> Interval:
    """The mean of a group; its interval is of RESAMPLES bootstrap samples (percentiles)."""
    return Interval(float(value_N.mean()), *_interval((value_N,), lambda x, axis: np.mean(x, axis=axis), seed))


def compare(value_N: Values, other_M: Values, seed: int) -> Difference:
    """Two groups that were drawn apart from each other. Each has at least LEAST values.

    The interval is of RESAMPLES bootstrap samples, p of PERMUTATIONS ways to part all values into groups of these
    sizes, or of all ways where there are fewer.
    """
    groups = (value_N, other_M)
    means = Interval(float(value_N.mean() - other_M.mean()), *_interval(groups, _difference, seed))
    return Difference(means, _superiority(*groups), _permuted_p(groups, seed))


def _difference(x: Values, y: Values, axis: int) -> Values:
    found: Values = np.mean(x, axis=axis) - np.mean(y, axis=axis)
    return found


def _superiority(value_N: Values, other_M: Values) -> float:
    sorted_M = np.sort(other_M)
    below, upto = (np.searchsorted(sorted_M, value_N, side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(other_M)))


def _permuted_p(groups: tuple[Values, Values], seed: int) -> float:
    found = stats.permutation_test(
        groups, _difference, permutation_type="independent", n_resamples=PERMUTATIONS, batch=AT_ONCE,
        vectorized=True, rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.pvalue)


def _interval(data: tuple[Values, ...], statistic: object, seed: int) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # of equal values, whose interval is a point
        found = stats.bootstrap(
            data, statistic, n_resamples=RESAMPLES, batch=AT_ONCE, confidence_level=LEVEL,
            method="percentile", vectorized=True, rng=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)
