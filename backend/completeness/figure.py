"""The share of concepts that are represented against how often they occur, as a drawing.

Lengths are in the units of the viewBox: x from the left, y from the top.
"""

import math
from dataclasses import dataclass

from backend.completeness.rows import about
from backend.html.figures import Tick
from backend.html.formats import count, share
from data.artifacts.completeness import SAECounts
from data.concepts.frequency import Bin

WIDTH, HEIGHT = 360, 256
LEFT, RIGHT, TOP, BOTTOM = 38, 345, 22, 210
NEVER_ROOM = 44
"""At the left of the axis, for concepts that occur nowhere."""
TEXT_ROOM = 46
"""Beside a mark, for what it is called."""
SMALLEST, LARGEST = 4.0, 12.0
"""Radii of dots."""
CURVE_POINTS = 60
MAX_EXTENSION = 1.5
"""Tenfolds by which the axis goes on beyond the concepts, so that a mark has room."""


@dataclass(frozen=True)
class FigureDot:
    """Some concepts that occur about as often."""

    x: float
    y: float
    radius: float
    title: str


@dataclass(frozen=True)
class FigureMark:
    """A frequency that is told."""

    x: float
    text: str
    name: str
    """Its class in the stylesheet."""
    anchor: str


@dataclass(frozen=True)
class FrequencyFigure:
    """The drawing."""

    width: int
    height: int
    dots: list[FigureDot]
    curve: str
    """Points of a line; "" without a fit."""
    marks: list[FigureMark]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    description: str
    """The same in words."""


def frequency_figure(found: SAECounts) -> FrequencyFigure | None:
    """None where no concept occurs at all."""
    seen = [one for one in found.bins if one.high > 0]
    if not seen:
        return None
    axis = _Axis.of(seen, found)
    most = max(one.num for one in found.bins)
    return FrequencyFigure(
        width=WIDTH,
        height=HEIGHT,
        dots=[_dot(one, axis, most) for one in found.bins],
        curve=_curve(found, axis),
        marks=_marks(found, axis),
        x_ticks=axis.ticks(never=len(seen) < len(found.bins)),
        y_ticks=[Tick(_height(part / 4), f"{25 * part}%") for part in range(5)],
        description="; ".join(map(_title, found.bins)),
    )


def figure_text(found: SAECounts) -> str:
    """What the drawing shows, in two sentences."""
    if found.fit is None:
        return found.why_no_fit
    if found.fit.slope <= 0:
        return "Here, concepts that occur more often are not represented more often."
    if found.fit.half >= 1:
        return "The more often a concept occurs, the more likely it has one; no concept occurs often enough for a half."
    interval = f"95% interval 1 in {about(1 / found.fit.high)} to 1 in {about(1 / found.fit.low)}"
    beyond = "" if found.fit.half <= found.bins[-1].high else " No concept here occurs as often: the curve goes on."
    return (
        f"By the logistic fit a concept is as likely as not to have a feature of its own when it stands once in "
        f"{about(1 / found.fit.half)} tokens ({interval}).{beyond} One over the number of features that are "
        f"not dead is once in {count(found.num_alive)}."
    )


@dataclass(frozen=True)
class _Axis:
    """Frequencies from left to right."""

    low: float
    """log10"""
    high: float

    @classmethod
    def of(cls, seen: list[Bin], found: SAECounts) -> "_Axis":
        low, high = math.log10(seen[0].low), math.log10(seen[-1].high)
        for told in _told(found):
            place = math.log10(told)
            low = place - 0.1 if low - MAX_EXTENSION < place < low else low
            high = place + 0.1 if high < place < high + MAX_EXTENSION else high
        return cls(low, high)

    def x(self, frequency: float) -> float:
        """Of concepts that occur so often."""
        if frequency <= 0:
            return LEFT + NEVER_ROOM / 2
        first = LEFT + NEVER_ROOM
        return first + (RIGHT - first) * (math.log10(frequency) - self.low) / (self.high - self.low)

    def holds(self, frequency: float) -> bool:
        return self.low <= math.log10(frequency) <= self.high

    def ticks(self, *, never: bool) -> list[Tick]:
        """At whole powers of ten."""
        powers = range(math.ceil(self.low), math.floor(self.high) + 1)
        ticks = [Tick(self.x(10.0**power), f"1 in {_short(10.0**-power)}") for power in powers]
        return [*([Tick(self.x(0), "never")] if never else []), *ticks]


def _told(found: SAECounts) -> list[float]:
    """Frequencies that are marked."""
    return [*([found.fit.half] if found.fit and found.fit.slope > 0 else []), 1 / max(found.num_alive, 1)]


def _height(part: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * part


def _dot(one: Bin, axis: _Axis, most: int) -> FigureDot:
    middle = math.sqrt(one.low * one.high)
    radius = max(SMALLEST, LARGEST * math.sqrt(one.num / most))
    return FigureDot(round(axis.x(middle), 1), round(_height(one.num_represented / one.num), 1), round(radius, 1),
                     _title(one))  # fmt: skip


def _title(one: Bin) -> str:
    often = f"once in {about(1 / one.high)} to {about(1 / one.low)} tokens" if one.high else "nowhere"
    what = "concept occurs" if one.num == 1 else "concepts occur"
    return f"{count(one.num)} {what} {often}: {share(one.num_represented / one.num, 2)} represented"


def _curve(found: SAECounts, axis: _Axis) -> str:
    if found.fit is None:
        return ""
    points = []
    for step in range(CURVE_POINTS + 1):
        power = axis.low + (axis.high - axis.low) * step / CURVE_POINTS
        odds = min(max(found.fit.intercept + found.fit.slope * power, -50.0), 50.0)
        points.append(f"{axis.x(10.0**power):.1f},{_height(1 / (1 + math.exp(-odds))):.1f}")
    return " ".join(points)


def _marks(found: SAECounts, axis: _Axis) -> list[FigureMark]:
    names = {1 / max(found.num_alive, 1): ("1 / not dead", "alive")}
    if found.fit and found.fit.slope > 0:
        names[found.fit.half] = ("half", "half")
    shown = sorted((axis.x(frequency), *named) for frequency, named in names.items() if axis.holds(frequency))
    last = len(shown) - 1
    return [
        FigureMark(round(x, 1), text, name, "start" if place == last and RIGHT - x >= TEXT_ROOM else "end")
        for place, (x, text, name) in enumerate(shown)
    ]


def _short(value: float) -> str:
    """A power of ten: 1,000, 10k, 1M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e4, "")):
        if value >= size and letter:
            return f"{value / size:g}{letter}"
    return f"{value / 1e3:g}k" if value >= 1e4 else f"{value:,.0f}"
