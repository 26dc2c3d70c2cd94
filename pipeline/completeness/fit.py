"""Whether a concept is represented against how often it occurs: shares, and a logistic fit.

Shapes: N concepts.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from data.artifacts.completeness import Bin, Fit
from pipeline.arrays import Ints, Mask

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
    """The maximum of the likelihood, but for RIDGE. There must be concepts of both kinds, and several frequencies."""
    x_N = np.log10(frequency_N)
    centre = float(x_N.mean())
    z_N, sign_N = x_N - centre, np.where(represented_N, 1.0, -1.0)

    def loss(ab: Doubles) -> tuple[float, Doubles]:
        margin_N = sign_N * (ab[0] + ab[1] * z_N)
        pull_N = -sign_N * expit(-margin_N)
        gradient = np.array([pull_N.sum(), pull_N @ z_N + 2 * RIDGE * ab[1]])
        return float(-log_expit(margin_N).sum() + RIDGE * ab[1] ** 2), gradient

    a, b = minimize(loss, np.zeros(2), jac=True, method="BFGS").x.tolist()
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
    p_N = expit(a + b * z_N)
    X_N2 = np.stack([np.ones_like(z_N), z_N], 1)
    information = (X_N2 * (p_N * (1 - p_N))[:, None]).T @ X_N2 + np.diag([0.0, 2 * RIDGE])
    slopes = np.array([-1 / b, a / b**2])
    return -a / b, math.sqrt(float(slopes @ np.linalg.inv(information) @ slopes))


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
