"""Whether a concept is represented against how often it occurs: shares, and a logistic fit.

For the lists of a run and for those that people upload. Shapes: N concepts.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
UNSEEN = 0.5
"""Occurrences that stand for none, for a logarithm needs some."""
RIDGE = 0.01
"""Weight of the squared slope: it keeps a fit finite where frequency tells both kinds apart without exception."""
Z_95 = 1.959964
FEWEST = 5
"""Represented concepts, and others, that a fit needs."""
LEAST_SLOPE = 1e-9
"""A slope nearer to 0 is taken for this, so that the crossing has a place, and an interval without bounds."""
STEPS_PER_DECADE = 2
MOST_STEPS, SMALLEST_STEP = 100, 1e-10


@dataclass(frozen=True)
class Bin:
    """Concepts that occur about as often as each other."""

    low: float
    """Occurrences for each token, at least; 0 where they occur nowhere."""
    high: float
    num: int
    num_represented: int


@dataclass(frozen=True)
class Fit:
    """Logistic regression of whether a concept is represented on log10 of how often it occurs."""

    intercept: float
    slope: float
    """Of the log-odds, for each tenfold."""
    half: float
    """Occurrences for each token at which the odds are even."""
    low: float
    high: float
    """Interval of `half` at 95%."""


@dataclass(frozen=True)
class Shares:
    """The share of concepts that are represented, by how often they occur."""

    bins: list[Bin]
    fit: Fit | None
    why_no_fit: str
    """The reason, as a sentence; "" when there is one."""


def shares_of(occurrences_N: Ints, num_tokens: int, represented_N: Mask) -> Shares:
    """occurrences_N: of each concept in so many tokens."""
    frequency_N = frequencies(occurrences_N, num_tokens)
    why = why_no_fit(represented_N, frequency_N)
    fit = None if why else fit_logistic(frequency_N, represented_N)
    return Shares(bins_of(occurrences_N, num_tokens, represented_N), fit, why)


def frequencies(occurrences_N: Ints, num_tokens: int) -> Doubles:
    """Occurrences for each token [N]; of a concept that occurs nowhere, of UNSEEN ones."""
    shares_N: Doubles = np.maximum(occurrences_N, UNSEEN) / max(num_tokens, 1)
    return shares_N


def why_no_fit(represented_N: Mask, frequency_N: Doubles) -> str:
    """The reason why nothing can be fitted, as a sentence; "" when it can."""
    num, total = int(represented_N.sum()), len(represented_N)
    if min(num, total - num) < FEWEST:
        return (
            f"{num:,} of {total:,} concepts are represented: a fit needs {FEWEST} that are and {FEWEST} that are not."
        )
    if np.ptp(frequency_N) == 0:
        return f"All {total:,} concepts occur equally often: a fit needs some that occur more often than others."
    return ""


def fit_logistic(frequency_N: Doubles, represented_N: Mask) -> Fit:
    """The maximum of the likelihood, but for RIDGE, by Newton's method.

    There must be concepts of both kinds, and several frequencies.
    """
    x_N = np.log10(frequency_N)
    centre = float(x_N.mean())
    z_N, sign_N = x_N - centre, np.where(represented_N, 1.0, -1.0)

    def loss(ab: Doubles) -> float:
        return float(np.logaddexp(0, -sign_N * (ab[0] + ab[1] * z_N)).sum() + RIDGE * ab[1] ** 2)

    ab: Doubles = np.zeros(2)
    for _ in range(MOST_STEPS):
        p_N = _logistic(ab[0] + ab[1] * z_N)
        slopes = _columns(z_N).T @ (p_N - represented_N) + 2 * RIDGE * ab * (0, 1)
        step = np.linalg.solve(_information(p_N, z_N), slopes)
        while loss(ab - step) > loss(ab) and np.abs(step).max() > SMALLEST_STEP:
            step = step / 2
        ab = ab - step
        if np.abs(step).max() <= SMALLEST_STEP:
            break
    a, b = ab.tolist()
    half, error = _crossing(a, b, z_N)
    return Fit(
        intercept=a - b * centre,
        slope=b,
        half=_power(centre + half),
        low=_power(centre + half - Z_95 * error),
        high=_power(centre + half + Z_95 * error),
    )


def _crossing(a: float, b: float, z_N: Doubles) -> tuple[float, float]:
    """Where a + b z is 0, and its standard error by the delta method."""
    b = math.copysign(max(abs(b), LEAST_SLOPE), b)
    slopes = np.array([-1 / b, a / b**2])
    return -a / b, math.sqrt(float(slopes @ np.linalg.inv(_information(_logistic(a + b * z_N), z_N)) @ slopes))


def _logistic(odds_N: Doubles) -> Doubles:
    p_N: Doubles = np.exp(-np.logaddexp(0, -odds_N))
    return p_N


def _columns(z_N: Doubles) -> Doubles:
    return np.stack([np.ones_like(z_N), z_N], 1)


def _information(p_N: Doubles, z_N: Doubles) -> Doubles:
    """Second derivatives of the loss, [2, 2]."""
    X_N2 = _columns(z_N)
    information: Doubles = (X_N2 * (p_N * (1 - p_N))[:, None]).T @ X_N2 + np.diag([0.0, 2 * RIDGE])
    return information


def _power(exponent: float) -> float:
    """10 to a power that a number can hold."""
    return float(10.0 ** min(max(exponent, -300.0), 300.0))


def bins_of(occurrences_N: Ints, num_tokens: int, represented_N: Mask) -> list[Bin]:
    """Concepts by frequency, two bins for each tenfold; those that occur nowhere are one of their own."""
    seen_N = occurrences_N > 0
    step_N = np.floor(STEPS_PER_DECADE * np.log10(np.maximum(occurrences_N, 1) / max(num_tokens, 1))).astype(int)
    bins = [Bin(0.0, 0.0, int((~seen_N).sum()), int(represented_N[~seen_N].sum()))] if not seen_N.all() else []
    for step in np.unique(step_N[seen_N]).tolist():
        inside_N = seen_N & (step_N == step)
        low, high = (10.0 ** (place / STEPS_PER_DECADE) for place in (step, step + 1))
        bins.append(Bin(low, high, int(inside_N.sum()), int(represented_N[inside_N].sum())))
    return bins
