"""Curves over the same axis as SVG, one panel below the other: they need no script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, LEFT, RIGHT = 400, 46, 12
HEADING, PLOT, GAP, AXIS = 18, 62, 10, 34
"""Heights, in the units of the viewBox."""
RADIUS = 3.2


@dataclass(frozen=True)
class CurvePoint:
    """A value at a place of the axis."""

    place: int
    value: float
    title: str
    hollow: bool = False


@dataclass(frozen=True)
class CurvePanel:
    """One curve."""

    heading: str
    points: Sequence[CurvePoint]
    low: float
    high: float
    """Values at the bottom and the top; what lies beyond is drawn there."""
    low_text: str
    high_text: str
    log: bool = False
    limit: float | None = None
    """A value at which a dashed line is drawn."""


@dataclass(frozen=True)
class CurveFigure:
    """Panels with the axis that they share."""

    name: str
    """For those who do not see it."""
    axis: str
    ticks: Sequence[str]
    """One at every place, which all are as far apart."""
    panels: Sequence[CurvePanel]
    marked: int | None = None
    """A place with a line."""
    marked_text: str = ""
    shaded: int | None = None
    """The place from which on the ground is shaded."""
    shaded_text: str = ""

    @property
    def height(self) -> int:
        return len(self.panels) * (HEADING + PLOT + GAP) + AXIS


def curve_html(figure: CurveFigure) -> Markup:
    """The whole drawing."""
    bottom = figure.height - AXIS
    panels = "".join(_panel(panel, place * (HEADING + PLOT + GAP), figure) for place, panel in enumerate(figure.panels))
    ticks = "".join(
        f'<text x="{_x(place, figure):.1f}" y="{bottom + 12}" text-anchor="middle">{escape(text)}</text>'
        for place, text in enumerate(figure.ticks)
    )
    axis = f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 28}" text-anchor="middle">{escape(figure.axis)}</text>'
    return Markup(
        f'<svg class="curves-over" viewBox="0 0 {WIDTH} {figure.height}" role="img" aria-label="{escape(figure.name)}">'
        f"{_ground(figure, bottom)}{panels}{ticks}{axis}</svg>"
    )


def _x(place: int, figure: CurveFigure) -> float:
    step = (WIDTH - LEFT - RIGHT) / max(len(figure.ticks), 1)
    return LEFT + step * (place + 0.5)


def _ground(figure: CurveFigure, bottom: int) -> str:
    """What lies behind all panels: the shaded places, and the line."""
    parts = []
    if figure.shaded is not None:
        left = (_x(figure.shaded - 1, figure) + _x(figure.shaded, figure)) / 2
        parts.append(
            f'<rect class="shaded" x="{left:.1f}" width="{WIDTH - RIGHT - left:.1f}" y="{HEADING - 4}" '
            f'height="{bottom - HEADING}"/>'
            f'<text x="{WIDTH - RIGHT}" y="10" text-anchor="end">{escape(figure.shaded_text)}</text>'
        )
    if figure.marked is not None:
        x = _x(figure.marked, figure)
        parts.append(f'<line class="marked" x1="{x:.1f}" x2="{x:.1f}" y1="{HEADING - 4}" y2="{bottom - 4}"/>')
        parts.append(f'<text x="{x + 4:.1f}" y="{HEADING + 7}">{escape(figure.marked_text)}</text>')
    return "".join(parts)


def _panel(panel: CurvePanel, top: int, figure: CurveFigure) -> str:
    def y(value: float) -> float:
        return round(top + HEADING + PLOT * (1 - _share(panel, value)), 1)

    base = top + HEADING + PLOT
    line = " ".join(f"{_x(one.place, figure):.1f},{y(one.value)}" for one in panel.points)
    limit = ""
    if panel.limit is not None:
        limit = f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(panel.limit)}" y2="{y(panel.limit)}"/>'
    dots = "".join(
        f"<g><title>{escape(one.title)}</title>"
        f'<circle class="{"dot hollow" if one.hollow else "dot"}" cx="{_x(one.place, figure):.1f}" '
        f'cy="{y(one.value)}" r="{RADIUS}"/></g>'
        for one in panel.points
    )
    return (
        f'<text class="heading" x="{LEFT}" y="{top + 10}">{escape(panel.heading)}</text>'
        f'<text x="{LEFT - 6}" y="{top + HEADING + 8}" text-anchor="end">{escape(panel.high_text)}</text>'
        f'<text x="{LEFT - 6}" y="{base}" text-anchor="end">{escape(panel.low_text)}</text>'
        f'<line class="base" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>'
        f'{limit}<polyline points="{line}"/>{dots}'
    )


def _share(panel: CurvePanel, value: float) -> float:
    """Height of a value as a share of the plot."""
    low, high, at = panel.low, panel.high, min(max(value, panel.low), panel.high)
    if panel.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low) if high > low else 0.0
