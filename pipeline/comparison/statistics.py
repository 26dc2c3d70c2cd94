"""Means of groups with their intervals, and tests of two groups.

Shapes: N values of one group, M of the other.
"""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Values = npt.NDArray[np.float64]
LEVEL, RESAMPLES, RESAMPLES_AT_ONCE = 0.95, 2000, 250
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
    """Two-sided, of Mann and Whitney's test."""


def mean_interval(value_N: Values, seed: int) -> Interval:
    """The mean of a group; its interval is of RESAMPLES bootstrap samples (percentiles)."""
    return Interval(float(value_N.mean()), *_interval((value_N,), lambda x, axis: np.mean(x, axis=axis), seed))


def compare(value_N: Values, other_M: Values, seed: int) -> Difference:
    """Two groups that were drawn apart from each other. Each has at least LEAST values."""

    def difference(x: Values, y: Values, axis: int) -> Values:
        found: Values = np.mean(x, axis=axis) - np.mean(y, axis=axis)
        return found

    found = stats.mannwhitneyu(value_N, other_M, alternative="two-sided")
    pairs = len(value_N) * len(other_M)
    means = Interval(float(value_N.mean() - other_M.mean()), *_interval((value_N, other_M), difference, seed))
    # Where all values are the same there is nothing to rank, and no sign of a difference.
    p = 1.0 if np.isnan(found.pvalue) else float(found.pvalue)
    return Difference(means, float(found.statistic) / pairs, p)


def _interval(data: tuple[Values, ...], statistic: object, seed: int) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # of equal values, whose interval is a point
        found = stats.bootstrap(
            data, statistic, n_resamples=RESAMPLES, batch=RESAMPLES_AT_ONCE, confidence_level=LEVEL,
            method="percentile", vectorized=True, rng=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)
