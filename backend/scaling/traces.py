"""Traces of Plotly figures, in colours of the stylesheet: `meta` names one, see static/base/plots.js."""

from collections.abc import Sequence
from typing import Any, Literal

from data.artifacts.scaling_laws import CurvePoint, Interval

Trace = dict[str, Any]
RANKS = 8
"""Colours --rank-0 to --rank-7 in the stylesheet, from few to many."""


def rank_colour(place: int, num: int) -> str:
    """The colour of one of several in order."""
    return f"rank-{round(place * (RANKS - 1) / max(num - 1, 1))}"


def points(
    x: Sequence[float],
    y: Sequence[float],
    *,
    colour: str,
    name: str = "",
    text: Sequence[str] = (),
    hrefs: Sequence[str] = (),
    mode: str = "lines+markers",
    symbol: str = "circle",
    size: int = 8,
    legend: bool = True,
) -> Trace:
    """Measured points, each with what is told of it, and the address that it leads to."""
    return {
        "type": "scatter",
        "mode": mode,
        "x": list(x),
        "y": list(y),
        "name": name,
        "text": list(text),
        "customdata": list(hrefs),
        "hovertemplate": "%{text}<extra></extra>",
        "meta": colour,
        "line": {"width": 1.5},
        "marker": {"symbol": symbol, "size": size},
        "showlegend": legend,
    }


def line(x: Sequence[float], y: Sequence[float], *, colour: str, name: str = "", dash: str = "solid") -> Trace:
    """A fitted line, which nothing is told of."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(x),
        "y": list(y),
        "name": name,
        "meta": colour,
        "line": {"width": 2, "dash": dash},
        "hoverinfo": "skip",
        "showlegend": bool(name),
    }


def bars(axis: Literal["x", "y"], values: Sequence[float], found: Sequence[Interval | None]) -> Trace:
    """Intervals of points along an axis; none of a point whose interval is not known."""
    high = [one.high - value if one else 0.0 for value, one in zip(values, found, strict=True)]
    low = [value - one.low if one else 0.0 for value, one in zip(values, found, strict=True)]
    return {f"error_{axis}": {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "thickness": 1.2}}


def law(
    curve: Sequence[CurvePoint], beyond: Sequence[CurvePoint], name: str, *, below: Sequence[CurvePoint] = ()
) -> list[Trace]:
    """A fitted curve with its interval: solid where it is no extrapolation, dotted beyond, and below if it goes there.

    Parts that meet have a point in common; a dotted part of a single point is not drawn.
    """
    dotted = [part for part in (below, beyond) if len(part) > 1]
    names = ["extrapolated" if below else "beyond", ""]
    return [
        _band([*below, *curve, *beyond]),
        line([point.x for point in curve], [point.value for point in curve], colour="ink", name=name),
        *(
            line([p.x for p in part], [p.value for p in part], colour="ink", name=named, dash="dot")
            for part, named in zip(dotted, names, strict=False)
        ),
    ]


def _band(curve: Sequence[CurvePoint]) -> Trace:
    """The interval of a fitted curve, as an area."""
    there, back = [point.x for point in curve], [point.x for point in reversed(curve)]
    high, low = [point.high for point in curve], [point.low for point in reversed(curve)]
    return {**line([*there, *back], [*high, *low], colour="accent-wash"), "fill": "toself", "line": {"width": 0}}


def figure(traces: Sequence[Trace], x: Trace, y: Trace, *, legend: bool = True, name_width: int = 0) -> Trace:
    """A figure of traces on two axes. name_width: pixels for each name of the legend; 0 for as many as it needs."""
    layout = {
        "xaxis": x,
        "yaxis": y,
        "showlegend": legend,
        "legend": {
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "traceorder": "normal",
            "entrywidth": name_width,
        },
        "hovermode": "closest",
    }
    return {"data": list(traces), "layout": layout}


def log_axis(title: str, ticks: Sequence[tuple[float, str]] = ()) -> Trace:
    """A logarithmic axis. ticks: place and text of each; by default powers of ten."""
    axis: Trace = {"type": "log", "title": {"text": title}, "showgrid": True}
    if ticks:
        return axis | {"tickvals": [place for place, _ in ticks], "ticktext": [text for _, text in ticks]}
    return axis | {"exponentformat": "power", "nticks": 6}
