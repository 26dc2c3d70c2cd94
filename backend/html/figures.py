"""Figures: pure functions from data to Plotly JSON, or to bars that a template draws as SVG.

Figures carry no colours: `base/plots.js` takes them from the stylesheet, so that they follow the theme. Histograms are
SVG: they need no script, and the page that people open most should not wait for Plotly's four megabytes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backend.html.tokens import level

Figure = dict[str, Any]
CURVES = {
    "explained_variance": "Explained variance",
    "l0": "L0: active features per token",
    "dead_share": "Dead share",
    "loss": "Loss",
}
END_TICK = 0.22
"""Room that the tick of a bar set apart needs, as a share of the width."""
BAR_FLOOR = 0.012
"""Height of the lowest bar that is not empty, as a share of the plot, so that it can be seen."""


@dataclass(frozen=True)
class Bar:
    """One bar; lengths are shares of the plot."""

    x: float
    width: float
    height: float
    level: int | None
    """Step of the highlight that its activations have; None when it stands for none."""
    title: str
    open: bool = False
    """Whether it holds everything below or above an edge, and is drawn apart."""
    href: str = ""
    """The address that it links to, or ""."""


@dataclass(frozen=True)
class Tick:
    """A mark on the axis."""

    x: float
    text: str


@dataclass(frozen=True)
class Bars:
    """A histogram."""

    bars: list[Bar]
    """Empty when all tokens lie beyond one end: there is nothing to draw then."""
    ticks: list[Tick]
    peak: int
    """Count of the highest bar."""
    note: str
    """A sentence on the values beyond the ends; "" when there are none."""


def activation_bars(histogram: Sequence[int], edges: Sequence[float], maximum: float) -> Bars | None:
    """A feature's activations, tokens per quarter octave; None when it never was active.

    The first bin also counts everything below it and the last everything above: these stand apart, a bin's width away.

    edges: see data.artifacts.features.histogram_edges.
    """
    if not any(histogram):
        return None
    last, peak = len(histogram) - 1, max(histogram)
    inner = [i for i in range(1, last) if histogram[i]]
    below, above = histogram[0], histogram[last]
    if not inner and not (below and above):
        return Bars([], [], peak, _only_beyond(below, above, edges))
    first, stop = (max(1, inner[0] - 1), min(last, inner[-1] + 2)) if inner else (1, last)
    left, right = 2 * bool(below), 2 * bool(above)
    width = 1 / (left + stop - first + right)

    def bar(i: int, place: int, title: str, middle: float) -> Bar:
        height, tokens = max(histogram[i] / peak, BAR_FLOOR), f"{histogram[i]:,} token{'s' * (histogram[i] != 1)}"
        step = max(0, level(min(middle, maximum), maximum))
        return Bar(place * width, width, height, step, f"{title}: {tokens}", open=i in (0, last))

    bars = [
        bar(i, left + i - first, f"{_short(edges[i])} to {_short(edges[i + 1])}", math.sqrt(edges[i] * edges[i + 1]))
        for i in inner
    ]
    ticks = [
        Tick((left + (stop - first) * tick.x) * width, tick.text) for tick in _log_ticks(edges[first], edges[stop])
    ]
    notes = []
    if below:
        bars.insert(0, bar(0, 0, f"below {_short(edges[1])}", edges[1] / 2))
        ticks = [Tick(0.0, f"<{_short(edges[1])}"), *(tick for tick in ticks if tick.x > END_TICK)]
        notes.append(f"the bar apart on the left all {below:,} below {_short(edges[1])}")
    if above:
        bars.append(bar(last, left + stop - first + 1, f"{_short(edges[last])} and above", edges[last]))
        ticks = [*(tick for tick in ticks if tick.x < 1 - END_TICK), Tick(1.0, f"≥{_short(edges[last])}")]
        notes.append(f"the bar apart on the right all {above:,} from {_short(edges[last])} on")
    return Bars(bars, ticks, peak, ", ".join(notes))


def _only_beyond(below: int, above: int, edges: Sequence[float]) -> str:
    total = below + above
    tokens = f"All {total:,} tokens lie" if total > 1 else "Its one token lies"
    end = f"below {_short(edges[1])}, where the bins begin" if below else f"from {_short(edges[-2])} on"
    return f"{tokens} {end}: there is nothing to draw."


def density_bars(counts: Sequence[int], edges: Sequence[float], link: Callable[[float, float], str]) -> Bars:
    """A histogram of the features of an SAE by density. `edges` are log10 of the density.

    link: the address that a bar leads to, from the two densities that bound it.
    """
    filled = [i for i, count in enumerate(counts) if count] or [0]
    first, stop = filled[0], filled[-1] + 1
    low, high, width, peak = edges[first], edges[stop], 1 / (stop - first), max(1, *counts)
    bars = [
        Bar(
            x=(i - first) * width,
            width=width,
            height=max(counts[i] / peak, BAR_FLOOR),
            level=None,
            title=f"{counts[i]:,} features active on {_percent(edges[i])} to {_percent(edges[i + 1])} of tokens",
            href=link(10 ** edges[i], 10 ** edges[i + 1]),
        )
        for i in filled
    ]
    powers = range(math.ceil(low), math.floor(high) + 1)
    return Bars(bars, [Tick((power - low) / (high - low), _percent(power)) for power in powers], peak, "")


def correlation_bars(counts: Sequence[int]) -> Bars:
    """A histogram of the features of an SAE by their highest |r| with a neuron, from 0 to 1."""
    peak, width = max(1, *counts), 1 / len(counts)
    bars = [
        Bar(
            x=i * width,
            width=width,
            height=max(number / peak, BAR_FLOOR),
            level=None,
            title=f"{number:,} features with a highest |r| of {_short(i * width)} to {_short((i + 1) * width)}",
        )
        for i, number in enumerate(counts)
        if number
    ]
    return Bars(bars, [Tick(tenth / 10, f"{tenth / 10:g}") for tenth in range(0, 11, 2)], peak, "")


def curve_figures(curve: Sequence[dict[str, Any]]) -> list[tuple[str, Figure]]:
    """Training curves over tokens: heading and figure of each."""
    return [(title, _curve(curve, name)) for name, title in CURVES.items() if curve and name in curve[0]]


def _curve(curve: Sequence[dict[str, Any]], name: str) -> Figure:
    points = [point for point in curve if point.get(name) is not None]
    share = name == "dead_share"
    line = {"type": "scatter", "mode": "lines", "x": [p["tokens"] for p in points], "y": [p[name] for p in points]}
    line["hovertemplate"] = f"%{{y:{'.2%' if share else '.4~g'}}} after %{{x:.3~s}} tokens<extra></extra>"
    y = {
        "tickformat": ".1~%" if share else "~g" if name == "explained_variance" else "~s",
        "nticks": 5,
        "rangemode": "tozero" if name != "loss" else "normal",
    }
    return {
        "data": [line],
        "layout": {"xaxis": {"tickformat": "~s", "nticks": 5, "title": {"text": "Tokens"}}, "yaxis": y},
    }


def _log_ticks(low: float, high: float) -> list[Tick]:
    """Round values between two edges on a logarithmic axis, at most seven."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        values = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(values) <= 7:
            break
    span = math.log(high / low)
    return [Tick(math.log(value / low) / span, f"{value:g}") for value in values]


def _percent(power: float) -> str:
    """A share given as its log10."""
    return f"{float(f'{100 * 10**power:.2g}'):.10f}".rstrip("0").rstrip(".") + "%"


def _short(value: float) -> str:
    return f"{value:.3g}"
