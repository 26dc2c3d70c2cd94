"""The law of the loss: floor + A features^-alpha + B tokens^-beta, fitted to measured cells, with a bootstrap.

Least squares of log(loss), by scipy. Resamples take the fitted losses with residuals drawn anew, widened for the five
parameters that the fit used up, as Student's t is, so that intervals hold with few cells too.

Shapes: P points (cells), R resamples, X places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import least_squares, nnls

from data.artifacts.scaling import Interval

Floats = npt.NDArray[np.float64]

RESAMPLES = 300
CONFIDENCE = 0.95
NUM_PARAMETERS = 5
SPARE_POINTS = 3
"""A fit needs so many points more than it has parameters."""
LEAST_LEVELS = 3
"""Sizes, and token counts, that a fit needs."""
EXPONENTS = (0.02, 5.0)
"""A fit with an exponent outside has not found a bend to follow."""
LOG_RANGE = (-40.0, 4.0)
"""Logarithms of the parameters beyond which none is followed: fits that run off end in time."""
START_EXPONENTS = (0.15, 0.3, 0.6, 1.0)


class Points(NamedTuple):
    """Measured cells [P]."""

    features_P: Floats
    tokens_P: Floats
    loss_P: Floats


class Surface(NamedTuple):
    """Parameters of the law; each a number, or one for each resample [R]."""

    floor: Floats
    features_scale: Floats
    features_exponent: Floats
    tokens_scale: Floats
    tokens_exponent: Floats

    def loss(self, features: Floats | float, tokens: Floats | float) -> Floats:
        """Loss of a size and a token count; shapes broadcast with those of the parameters."""
        by_features = self.features_scale * features**-self.features_exponent
        return np.asarray(self.floor + by_features + self.tokens_scale * tokens**-self.tokens_exponent)

    @property
    def exponent(self) -> Floats:
        """Of compute, in the loss at the best allocation."""
        return self.features_exponent * self.tokens_exponent / (self.features_exponent + self.tokens_exponent)

    @property
    def balance(self) -> Floats:
        """G: the best features are G (features x tokens)^(beta / (alpha + beta)), the best tokens 1/G of the rest."""
        ratio = self.features_exponent * self.features_scale / (self.tokens_exponent * self.tokens_scale)
        return np.asarray(ratio ** (1 / (self.features_exponent + self.tokens_exponent)))

    def best_features(self, pairs: Floats | float) -> Floats:
        """The best size where features x tokens = `pairs`."""
        share = self.tokens_exponent / (self.features_exponent + self.tokens_exponent)
        return np.asarray(self.balance * pairs**share)

    def best_tokens(self, pairs: Floats | float) -> Floats:
        """The best token count there."""
        return np.asarray(pairs / self.best_features(pairs))

    def best_loss(self, pairs: Floats | float) -> Floats:
        """The loss of both."""
        return self.loss(self.best_features(pairs), self.best_tokens(pairs))


@dataclass(frozen=True)
class Fit:
    """A fitted law and its resamples."""

    surface: Surface
    resampled: Surface
    """[R]"""
    residual_P: Floats
    """log(loss) less log(fitted)."""
    noise_P: Floats
    """The same, widened."""

    def predict(self, features: float, tokens: float, seed: int) -> Interval:
        """Loss of one new cell: the law's uncertainty, and the scatter of single cells about it."""
        noise_R = np.random.default_rng(seed).choice(self.noise_P, len(self.resampled.floor))
        return interval(
            float(self.surface.loss(features, tokens)), self.resampled.loss(features, tokens) * np.exp(noise_R)
        )


def why_too_few(points: Points) -> str:
    """The reason why no law can be fitted, as a sentence; "" where one can be tried."""
    sizes, counts = len(set(points.features_P)), len(set(points.tokens_P))
    least = NUM_PARAMETERS + SPARE_POINTS
    if sizes >= LEAST_LEVELS and counts >= LEAST_LEVELS and len(points.loss_P) >= least:
        return ""
    return (
        f"Too few cells for a law, points only: there are {len(points.loss_P)}, of {sizes} sizes and {counts} token "
        f"counts; {NUM_PARAMETERS} parameters are fitted from {least} cells, {LEAST_LEVELS} sizes and {LEAST_LEVELS} "
        "token counts on."
    )


def fit_loss(points: Points, seed: int, num_resamples: int = RESAMPLES) -> Fit | str:
    """The law of the loss through points, enough of them by `why_too_few`; or why none fits, as a sentence."""
    solver = _Solver.of(points)
    log_P = np.log(points.loss_P / solver.loss_unit)
    best = min((solver.solve(log_P, start) for start in solver.starts(log_P)), key=lambda one: one[1])[0]
    surface = solver.surface(best)
    alpha, beta = float(surface.features_exponent), float(surface.tokens_exponent)
    if not all(EXPONENTS[0] <= exponent <= EXPONENTS[1] for exponent in (alpha, beta)):
        return (
            f"The losses follow no power law with a floor: the best exponents would be {alpha:.3g} of features and "
            f"{beta:.3g} of tokens. More cells, further apart, may show one."
        )
    residual_P = -solver.residuals(best, log_P)
    spare = len(log_P) - NUM_PARAMETERS
    wider = stats.t.ppf((1 + CONFIDENCE) / 2, spare) / stats.norm.ppf((1 + CONFIDENCE) / 2)
    noise_P = (residual_P - residual_P.mean()) * np.sqrt(len(log_P) / spare) * wider
    rng = np.random.default_rng(seed)
    fitted_P = log_P - residual_P
    found = [solver.solve(fitted_P + rng.choice(noise_P, len(log_P)), best)[0] for _ in range(num_resamples)]
    resampled = solver.surface(np.array(found).T)
    return Fit(surface, resampled, residual_P, noise_P)


def interval(value: float, values_R: Floats) -> Interval:
    """A value with the middle 95% of its resamples, widened to hold the value where these lie to one side."""
    finite_R = values_R[np.isfinite(values_R)]
    low, high = np.quantile(finite_R, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))


class _Solver(NamedTuple):
    """Least squares in the logarithms of all five parameters, with all three quantities in units of their middle."""

    log_features_P: Floats
    log_tokens_P: Floats
    features_unit: float
    tokens_unit: float
    loss_unit: float

    @classmethod
    def of(cls, points: Points) -> "_Solver":
        log_n, log_t, log_loss = (np.log(column_P) for column_P in points)
        units = (float(np.exp(column_P.mean())) for column_P in (log_n, log_t, log_loss))
        return cls(log_n - log_n.mean(), log_t - log_t.mean(), *units)

    def starts(self, log_P: Floats) -> Sequence[Floats]:
        """Places to start from: for some exponents, the best of the other parameters, which the loss is linear in."""
        found, loss_P = [], np.exp(log_P)
        for alpha, beta in product(START_EXPONENTS, START_EXPONENTS):
            columns = [np.ones_like(loss_P), np.exp(-alpha * self.log_features_P), np.exp(-beta * self.log_tokens_P)]
            scales, rest = nnls(np.stack(columns, 1) / loss_P[:, None], np.ones_like(loss_P))
            floor, a, b = np.maximum(scales, 1e-3 * float(loss_P.min()))
            found.append((rest, np.log([floor, a, alpha, b, beta])))
        return [start for _, start in sorted(found, key=lambda one: float(one[0]))[:3]]

    def terms(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """floor, A n^-alpha, B t^-beta [P]."""
        floor, a, alpha, b, beta = np.exp(np.clip(theta, *LOG_RANGE))
        return floor, a * np.exp(-alpha * self.log_features_P), b * np.exp(-beta * self.log_tokens_P)

    def residuals(self, theta: Floats, log_P: Floats) -> Floats:
        return np.asarray(np.log(sum(self.terms(theta))) - log_P)

    def jacobian(self, theta: Floats, _: Floats) -> Floats:
        floor, by_n, by_t = self.terms(theta)
        alpha, beta = np.exp(np.clip(theta[[2, 4]], *LOG_RANGE))
        columns = [
            np.full_like(by_n, floor),
            by_n,
            -alpha * self.log_features_P * by_n,
            by_t,
            -beta * self.log_tokens_P * by_t,
        ]
        return np.stack(columns, 1) / (floor + by_n + by_t)[:, None]

    def solve(self, log_P: Floats, start: Floats) -> tuple[Floats, float]:
        """Parameters, and half the sum of squares."""
        found = least_squares(self.residuals, start, self.jacobian, method="lm", args=(log_P,), max_nfev=200)
        return found.x, float(found.cost)

    def surface(self, theta: Floats) -> Surface:
        """The parameters [5] or [5, R] in units of features and tokens."""
        floor, a, alpha, b, beta = np.exp(np.clip(theta, *LOG_RANGE))
        scales = (a * self.features_unit**alpha, b * self.tokens_unit**beta)
        return Surface(self.loss_unit * floor, self.loss_unit * scales[0], alpha, self.loss_unit * scales[1], beta)
