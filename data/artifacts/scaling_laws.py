"""What is fitted to a grid of scaling laws: curves with their intervals, as they stand in its report (scaling.py)."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

MINIMUM_OF = ("minimum_features", "minimum_tokens", "minimum_loss")


@dataclass(frozen=True)
class Interval:
    """A value and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CurvePoint:
    """A point of a fitted curve, with the interval of the curve there."""

    x: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningRateLaw:
    """learning rate = coefficient * features^exponent."""

    coefficient: float
    exponent: Interval
    """By Student's t of the least squares of logarithms; of two sizes alone it has no width, and says nothing."""
    curve: tuple[CurvePoint, ...]
    """x: every size of the grid."""
    smallest_swept: int
    largest_swept: int
    """Sizes between which it is no extrapolation."""

    def covers(self, num_features: float) -> bool:
        """Whether it is no extrapolation at a size."""
        return self.smallest_swept <= num_features <= self.largest_swept


@dataclass(frozen=True)
class LossLaw:
    """loss = floor + features_scale features^-features_exponent + tokens_scale features^demand tokens^-tokens_exponent.

    Fitted to the logarithm of the loss of all cells with `in_fit`. At the best allocation of C FLOPs it is
    floor + scale C^-exponent, with exponent = features_exponent * tokens_exponent / (the sum of both and demand).
    """

    floor: Interval
    """What is left with features and tokens without end."""
    features_scale: Interval
    features_exponent: Interval
    tokens_scale: Interval
    tokens_exponent: Interval
    scale: Interval
    exponent: Interval
    curve: tuple[CurvePoint, ...]
    """Loss at the best allocation; x: FLOPs, over the range of the cells."""
    num_cells: int
    residual_rms: float
    """Root mean square of the residuals."""
    demand: Interval = Interval(0.0, 0.0, 0.0)
    """How what is left for want of tokens grows with features: a larger size needs features^(demand / tokens_exponent)
    times the tokens to be trained as far."""
    beyond: tuple[CurvePoint, ...] = ()
    """Loss at the best allocation from the most compute of a cell on, 10^8 times as far: extrapolated."""


@dataclass(frozen=True)
class AllocationLaw:
    """best = coefficient * FLOPs^exponent: features or tokens, by the law of the loss."""

    coefficient: Interval
    exponent: Interval
    curve: tuple[CurvePoint, ...]
    beyond: tuple[CurvePoint, ...] = ()
    """x: FLOPs, as in the law of the loss."""


@dataclass(frozen=True)
class IsoPoint:
    """One size at a given number of FLOPs, between two measured cells of that size, or on one."""

    num_features: float
    num_tokens: float
    loss: float


@dataclass(frozen=True)
class IsoCurve:
    """Loss against size at one number of FLOPs: more features are fewer tokens."""

    flops: float
    points: tuple[IsoPoint, ...]
    """By rising size; sizes that no cell is measured on either side of are left out."""
    curve: tuple[IsoPoint, ...]
    """The parabola in log(features) through them, as points for a line; () where there are fewer than three."""
    minimum: IsoPoint | None
    """Of the parabola, where it lies between the sizes."""
    why_none: str
    """The reason why there is no minimum, as a sentence; "" where there is one."""
    minimum_features: Interval | None = None
    minimum_tokens: Interval | None = None
    minimum_loss: Interval | None = None
    """Of the minimum, by bootstrap; at an end of the sizes they are open there. None without a minimum, and where there
    are too few points to tell how far these scatter about their parabolas."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """One from plain JSON."""
        points, curve = (tuple(IsoPoint(**one) for one in raw[name]) for name in ("points", "curve"))
        minimum = IsoPoint(**raw["minimum"]) if raw["minimum"] else None
        found = {name: Interval(**raw[name]) for name in MINIMUM_OF if raw.get(name)}
        return cls(**{**raw, "points": points, "curve": curve, "minimum": minimum, **found})


def value_at(curve: Sequence[CurvePoint], x: float) -> CurvePoint | None:
    """A fitted curve at any x within its range, between its points in logarithms; None outside."""
    if not curve or not curve[0].x <= x <= curve[-1].x:
        return None
    place = min(bisect_right([point.x for point in curve], x), len(curve) - 1)
    left, right = curve[max(place - 1, 0)], curve[place]
    share = math.log(x / left.x) / math.log(right.x / left.x) if right.x > left.x else 0.0
    parts = ((left.value, right.value), (left.low, right.low), (left.high, right.high))
    return CurvePoint(x, *(a ** (1 - share) * b**share for a, b in parts))


def read_law(kind: type[Any], raw: Mapping[str, Any] | None) -> Any:
    """A law from plain JSON: its values with an interval, its curve, and plain numbers."""
    return None if raw is None else kind(**{name: _part(value) for name, value in raw.items()})


def _part(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(CurvePoint(**one) for one in value)
    return Interval(**value) if isinstance(value, Mapping) else value
