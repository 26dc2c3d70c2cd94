"""What compute should buy: curves of equal compute through measured cells, and the best allocation by the law.

On a curve of equal compute more features are fewer tokens. Its losses are read off between the cells of each size and
never beyond them; its minimum, of a parabola, owes nothing to the law of the loss and is drawn beside it. Nor does the
minimum's interval: the losses of the parabola are resampled with the residuals of all parabolas, drawn anew and widened
as those of the law are.

Shapes: S sizes of a curve, R resamples.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from data.artifacts.scaling_laws import AllocationLaw, CurvePoint, Interval, IsoCurve, IsoPoint, LossLaw
from pipeline.scaling.laws import CONFIDENCE, RESAMPLES, SPARE_POINTS, Fit, Floats, Points, Surface, interval

MAX_CURVES = 8
LEAST_SIZES = 3
"""Sizes that a curve of equal compute needs."""
SAME = 0.02
"""Numbers of FLOPs that differ by no more than this share are one curve."""
NO_FLOOR = 1e-3
"""A floor below this share of the lowest loss is none."""
LINE_POINTS = 40
"""Of a parabola, and of a law over the range of the cells."""
BEYOND, BEYOND_PER_DECADE = 1e8, 4
"""How many times beyond the most compute of a cell laws are still given, and at how many points."""


def iso_curves(points: Points, flops_per_pair: float, seed: int) -> tuple[IsoCurve, ...]:
    """Curves through cells, by rising compute. flops_per_pair: FLOPs for each token and feature."""
    by_size = {float(size): _of_size(points, size) for size in sorted(set(points.features_P))}
    levels = []
    for flops in _distinct(np.sort(flops_per_pair * points.features_P * points.tokens_P)):
        found = [_read_off(size, cells, flops / (flops_per_pair * size)) for size, cells in by_size.items()]
        through = tuple(point for point in found if point is not None)
        if len(through) >= LEAST_SIZES:
            levels.append((flops, through))
    chosen = sorted({round(place) for place in np.linspace(0, len(levels) - 1, MAX_CURVES)}) if levels else []
    noise, rng = _scatter([through for _, through in levels]), np.random.default_rng(seed)
    curves = [_iso_curve(flops, through, flops_per_pair) for flops, through in (levels[number] for number in chosen)]
    return tuple(_with_intervals(curve, noise, flops_per_pair, rng) for curve in curves)


def _of_size(points: Points, size: float) -> tuple[Floats, Floats]:
    """log(tokens) and log(loss) of one size, by tokens."""
    mask_P = points.features_P == size
    order = np.argsort(points.tokens_P[mask_P])
    return np.log(points.tokens_P[mask_P][order]), np.log(points.loss_P[mask_P][order])


def _distinct(flops: Floats) -> list[float]:
    kept: list[float] = []
    for one in flops.tolist():
        if not kept or one > kept[-1] * (1 + SAME):
            kept.append(one)
    return kept


def _read_off(size: float, cells: tuple[Floats, Floats], tokens: float) -> IsoPoint | None:
    """The loss of a size at a token count between its cells, in logarithms; None beyond them."""
    at, (log_tokens, log_loss) = np.log(tokens), cells
    if not log_tokens[0] - SAME <= at <= log_tokens[-1] + SAME:
        return None
    return IsoPoint(size, tokens, float(np.exp(np.interp(at, log_tokens, log_loss))))


def _logs(points: Sequence[IsoPoint]) -> tuple[Floats, Floats]:
    """log(features) and log(loss) [S]."""
    return np.log([point.num_features for point in points]), np.log([point.loss for point in points])


def _iso_curve(flops: float, points: tuple[IsoPoint, ...], flops_per_pair: float) -> IsoCurve:
    x, log_loss = _logs(points)
    parabola = np.polynomial.Polynomial.fit(x, log_loss, 2)

    def at(place: float) -> IsoPoint:
        size = float(np.exp(place))
        return IsoPoint(size, flops / (flops_per_pair * size), float(np.exp(parabola(place))))

    curve = tuple(at(place) for place in np.linspace(x[0], x[-1], LINE_POINTS).tolist())
    _, slope, bend = map(float, parabola.convert().coef)
    lowest = -slope / (2 * bend) if bend > 0 else None
    if lowest is not None and x[0] < lowest < x[-1]:
        return IsoCurve(flops, points, curve, at(float(lowest)), "")
    return IsoCurve(flops, points, curve, None, _why_none(points))


def _why_none(points: Sequence[IsoPoint]) -> str:
    first, last = points[0], points[-1]
    end, other = ("smallest", "fewer") if first.loss < last.loss else ("largest", "more")
    return f"The loss is lowest at the {end} size that was measured: the best one may have {other} features."


def _scatter(curves: Sequence[Sequence[IsoPoint]]) -> Floats:
    """Residuals of log(loss) about all parabolas, widened; none where too few points are more than they need."""
    residuals = [log_loss - np.polyval(np.polyfit(x, log_loss, 2), x) for x, log_loss in map(_logs, curves)]
    spare = sum(len(one) - LEAST_SIZES for one in residuals)
    if spare < SPARE_POINTS:
        return np.empty(0)
    found = np.concatenate([one for one in residuals if len(one) > LEAST_SIZES])
    wider = stats.t.ppf((1 + CONFIDENCE) / 2, spare) / stats.norm.ppf((1 + CONFIDENCE) / 2)
    return np.asarray((found - found.mean()) * np.sqrt(len(found) / spare) * wider)


def _with_intervals(curve: IsoCurve, noise: Floats, flops_per_pair: float, rng: np.random.Generator) -> IsoCurve:
    """The curve with the intervals of its minimum, where it has one and the scatter is known."""
    if curve.minimum is None or not len(noise):
        return curve
    (x, log_loss), middle = _logs(curve.points), np.log(curve.minimum.num_features)
    fitted = np.polyval(np.polyfit(x - middle, log_loss, 2), x - middle)
    drawn_SR = fitted[:, None] + rng.choice(noise, (len(x), RESAMPLES))
    bend_R, slope_R, height_R = np.polyfit(x - middle, drawn_SR, 2)
    at_R = np.clip(_lowest(bend_R, slope_R, x - middle), x[0] - middle, x[-1] - middle)
    features, pairs = interval(curve.minimum.num_features, np.exp(at_R + middle)), curve.flops / flops_per_pair
    return replace(
        curve,
        minimum_features=features,
        minimum_tokens=Interval(curve.minimum.num_tokens, pairs / features.high, pairs / features.low),
        minimum_loss=interval(curve.minimum.loss, np.exp(height_R + slope_R * at_R + bend_R * at_R**2)),
    )


def _lowest(bend_R: Floats, slope_R: Floats, x: Floats) -> Floats:
    """Where each parabola is lowest [R]: of one that does not bend up, its lower end."""
    ends_R = np.where(bend_R * x[0] ** 2 + slope_R * x[0] < bend_R * x[-1] ** 2 + slope_R * x[-1], x[0], x[-1])
    return np.asarray(np.where(bend_R > 0, -slope_R / (2 * np.where(bend_R > 0, bend_R, 1.0)), ends_R))


# ---- By the law of the loss


def loss_law(fit: Fit, points: Points, flops_per_pair: float) -> LossLaw:
    """The law as it is reported."""
    names = ("floor", "features_scale", "features_exponent", "tokens_scale", "tokens_exponent", "demand", "exponent")
    parts = {name: interval(float(getattr(fit.surface, name)), getattr(fit.resampled, name)) for name in names}
    least, floor = NO_FLOOR * float(points.loss_P.min()), parts["floor"]
    parts["floor"] = Interval(*(end if end >= least else 0.0 for end in (floor.value, floor.low, floor.high)))

    def scale(surface: Surface) -> Floats:
        return np.asarray((surface.best_loss(1.0) - surface.floor) * flops_per_pair**surface.exponent)

    inside, beyond = _places(points, flops_per_pair)
    loss = _by_compute(fit, flops_per_pair, Surface.best_loss)
    return LossLaw(
        **parts,
        scale=interval(float(scale(fit.surface)), scale(fit.resampled)),
        curve=loss(inside),
        beyond=loss(beyond),
        num_cells=len(points.loss_P),
        residual_rms=float(np.sqrt(np.mean(np.expm1(fit.residual_P) ** 2))),
    )


def allocation_law(
    fit: Fit, points: Points, flops_per_pair: float, best: Callable[[Surface, Floats | float], Floats]
) -> AllocationLaw:
    """The law of the best features or tokens. best: Surface.best_features or Surface.best_tokens."""

    def exponent(surface: Surface) -> Floats:
        return np.asarray(np.log(best(surface, np.e) / best(surface, 1.0)))

    def coefficient(surface: Surface) -> Floats:
        return np.asarray(best(surface, 1.0) * flops_per_pair ** -exponent(surface))

    inside, beyond = _places(points, flops_per_pair)
    curve = _by_compute(fit, flops_per_pair, best)
    return AllocationLaw(
        coefficient=interval(float(coefficient(fit.surface)), coefficient(fit.resampled)),
        exponent=interval(float(exponent(fit.surface)), exponent(fit.resampled)),
        curve=curve(inside),
        beyond=curve(beyond),
    )


def _by_compute(
    fit: Fit, flops_per_pair: float, value: Callable[[Surface, Floats | float], Floats]
) -> Callable[[Iterable[float]], tuple[CurvePoint, ...]]:
    """Function that gives a quantity of the best allocation, with its interval, at numbers of FLOPs."""

    def at(flops: float) -> CurvePoint:
        pairs = flops / flops_per_pair
        found = interval(float(value(fit.surface, pairs)), value(fit.resampled, pairs))
        return CurvePoint(flops, found.value, found.low, found.high)

    return lambda places: tuple(map(at, places))


def _places(points: Points, flops_per_pair: float) -> tuple[list[float], list[float]]:
    """FLOPs over the range of the cells, and beyond them."""
    flops_P = flops_per_pair * points.features_P * points.tokens_P
    low, high = float(flops_P.min()), float(flops_P.max())
    num_beyond = round(np.log10(BEYOND) * BEYOND_PER_DECADE) + 1
    return np.geomspace(low, high, LINE_POINTS).tolist(), np.geomspace(high, high * BEYOND, num_beyond).tolist()
