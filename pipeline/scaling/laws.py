"""The law of the loss: floor + A features^-alpha + B features^delta tokens^-beta, fitted to measured cells.

delta, the demand: a larger size needs more tokens to be trained as far. Without it the form would say that what more
tokens give is the same at every size.

Least squares of log(loss), by scipy. Resamples take the fitted losses with residuals drawn anew, widened for the six
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

from data.artifacts.scaling_laws import Interval

Floats = npt.NDArray[np.float64]

RESAMPLES = 300
CONFIDENCE = 0.95
NUM_PARAMETERS = 6
SPARE_POINTS = 3
"""A fit needs so many points more than it has parameters."""
LEAST_LEVELS = 3
"""Sizes, and token counts, that a fit needs."""
EXPONENTS = (0.02, 5.0)
"""A fit with an exponent outside has not found a bend to follow."""
DEMANDS = (0.0, 0.3)
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
    demand: Floats

    def loss(self, features: Floats | float, tokens: Floats | float) -> Floats:
        """Loss of a size and a token count; shapes broadcast with those of the parameters."""
        by_features = self.features_scale * features**-self.features_exponent
        by_tokens = self.tokens_scale * features**self.demand * tokens**-self.tokens_exponent
        return np.asarray(self.floor + by_features + by_tokens)

    @property
    def _sum(self) -> Floats:
        return np.asarray(self.features_exponent + self.tokens_exponent + self.demand)

    @property
    def exponent(self) -> Floats:
        """Of compute, in the loss at the best allocation."""
        return self.features_exponent * self.tokens_exponent / self._sum

    @property
    def balance(self) -> Floats:
        """G: the best features are G (features x tokens)^(beta / (alpha + beta + delta))."""
        by_tokens = (self.tokens_exponent + self.demand) * self.tokens_scale
        return np.asarray((self.features_exponent * self.features_scale / by_tokens) ** (1 / self._sum))

    def best_features(self, pairs: Floats | float) -> Floats:
        """The best size where features x tokens = `pairs`."""
        return np.asarray(self.balance * pairs ** (self.tokens_exponent / self._sum))

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
    if not bool(_has_best(surface)):
        return (
            "The losses follow no power law with a floor: the best exponents would be "
            f"{surface.features_exponent:.3g} of features, {surface.tokens_exponent:.3g} of tokens, and a demand of "
            f"{surface.demand:.3g}. More cells, further apart, may show one."
        )
    residual_P = -solver.residuals(best, log_P)
    spare = len(log_P) - NUM_PARAMETERS
    wider = stats.t.ppf((1 + CONFIDENCE) / 2, spare) / stats.norm.ppf((1 + CONFIDENCE) / 2)
    noise_P = (residual_P - residual_P.mean()) * np.sqrt(len(log_P) / spare) * wider
    rng = np.random.default_rng(seed)
    fitted_P = log_P - residual_P
    found = [solver.solve(fitted_P + rng.choice(noise_P, len(log_P)), best)[0] for _ in range(num_resamples)]
    resampled = solver.surface(np.array(found).T)
    kept_R = _has_best(resampled)
    if kept_R.mean() < CONFIDENCE:
        return "The cells do not say well enough how loss falls: other noise of the same size would show no law."
    resampled = Surface(*(column_R[kept_R] for column_R in resampled))
    return Fit(surface, resampled, residual_P, noise_P)


def _has_best(surface: Surface) -> npt.NDArray[np.bool_]:
    """Whether a law bends, and has a best allocation."""
    exponents = np.stack([surface.features_exponent, surface.tokens_exponent])
    inside = ((exponents >= EXPONENTS[0]) & (exponents <= EXPONENTS[1])).all(0)
    return np.asarray(inside & (surface.tokens_exponent + surface.demand > EXPONENTS[0]))


def interval(value: float, values_R: Floats) -> Interval:
    """A value with the middle 95% of its resamples, widened to hold the value where these lie to one side."""
    finite_R = values_R[np.isfinite(values_R)]
    low, high = np.quantile(finite_R, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))


class _Solver(NamedTuple):
    """Least squares in logarithms of all parameters but the demand; all quantities in units of their middle."""

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
        for alpha, beta, demand in product(START_EXPONENTS, START_EXPONENTS, DEMANDS):
            by_tokens = np.exp(demand * self.log_features_P - beta * self.log_tokens_P)
            columns = [np.ones_like(loss_P), np.exp(-alpha * self.log_features_P), by_tokens]
            scales, rest = nnls(np.stack(columns, 1) / loss_P[:, None], np.ones_like(loss_P))
            floor, a, b = np.log(np.maximum(scales, 1e-3 * float(loss_P.min())))
            found.append((rest, np.array([floor, a, np.log(alpha), b, np.log(beta), demand])))
        return [start for _, start in sorted(found, key=lambda one: float(one[0]))[:3]]

    def terms(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """floor, A n^-alpha, B n^delta t^-beta [P]."""
        floor, a, alpha, b, beta, demand = _parameters(theta)
        by_tokens = b * np.exp(demand * self.log_features_P - beta * self.log_tokens_P)
        return floor, a * np.exp(-alpha * self.log_features_P), by_tokens

    def residuals(self, theta: Floats, log_P: Floats) -> Floats:
        return np.asarray(np.log(sum(self.terms(theta))) - log_P)

    def jacobian(self, theta: Floats, _: Floats) -> Floats:
        floor, by_n, by_t = self.terms(theta)
        _, _, alpha, _, beta, _ = _parameters(theta)
        columns = [
            np.full_like(by_n, floor),
            by_n,
            -alpha * self.log_features_P * by_n,
            by_t,
            -beta * self.log_tokens_P * by_t,
            self.log_features_P * by_t,
        ]
        return np.stack(columns, 1) / (floor + by_n + by_t)[:, None]

    def solve(self, log_P: Floats, start: Floats) -> tuple[Floats, float]:
        """Parameters, and half the sum of squares."""
        found = least_squares(self.residuals, start, self.jacobian, method="lm", args=(log_P,), max_nfev=200)
        return found.x, float(found.cost)

    def surface(self, theta: Floats) -> Surface:
        """The parameters [6] or [6, R] in units of features, tokens and loss."""
        floor, a, alpha, b, beta, demand = _parameters(theta)
        by_features = self.loss_unit * a * self.features_unit**alpha
        by_tokens = self.loss_unit * b * self.tokens_unit**beta * self.features_unit**-demand
        return Surface(self.loss_unit * floor, by_features, alpha, by_tokens, beta, demand)


def _parameters(theta: Floats) -> tuple[Floats, ...]:
    """floor, A, alpha, B, beta, delta of what is fitted."""
    return (*np.exp(np.clip(theta[:5], *LOG_RANGE)), np.clip(theta[5], *LOG_RANGE))
