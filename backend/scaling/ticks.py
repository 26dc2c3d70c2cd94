"""Ticks of logarithmic axes: values that are told, with their text."""

import math
from collections.abc import Sequence

from backend.scaling.wording import SUPERSCRIPTS, power, short

Tick = tuple[float, str]
MOST_TICKS = 6


def size_ticks(values: Sequence[float], times: float = 1) -> list[Tick]:
    """The values themselves, six at most, going on to so many times the largest."""
    found = sorted(set(values))
    shown = found[:: max(1, math.ceil(len(found) / MOST_TICKS))]
    while times > 1 and shown and shown[-1] * 4 <= found[-1] * times and len(shown) < MOST_TICKS + 2:
        shown.append(shown[-1] * 4)
    return [(value, short(value)) for value in shown]


def rate_ticks(values: Sequence[float]) -> list[Tick]:
    """Learning rates as they were tried, six at most."""
    found = sorted(set(values))
    return [(value, f"{value:.2g}") for value in found[:: max(1, math.ceil(len(found) / MOST_TICKS))]]


def power_ticks(values: Sequence[float]) -> list[Tick]:
    """Powers of ten between the lowest and the highest, or 1, 2 and 5 times these where there are few."""
    low, high = min(values, default=1.0), max(values, default=10.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    if high / low > 50:
        return [(10.0**exponent, f"10{str(exponent).translate(SUPERSCRIPTS)}") for exponent in powers]
    return [(step * 10.0**exponent, power(step * 10.0**exponent, 1)) for exponent in powers for step in (1, 2, 5)]


def even_ticks(values: Sequence[float]) -> list[Tick]:
    """At most seven round values about the lowest and the highest; powers of ten where these are far apart."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    if high / low > 20:
        return [(value, f"{value:g}") for value, _ in power_ticks((low, high * 51))]
    step = _round_step((high - low) / 5 or low / 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [(k * step, f"{k * step:.4g}") for k in range(max(first, 1), max(last, first + 1) + 1)]


def _round_step(raw: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is no less than `raw`."""
    base = 10.0 ** math.floor(math.log10(raw))
    return next(factor * base for factor in (1, 2, 5, 10) if factor * base >= raw * 0.999)
