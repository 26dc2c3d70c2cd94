"""The figures of scaling laws: pure functions from a grid to Plotly JSON. A point leads to its cell in the table."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backend.html.figures import Figure
from backend.html.formats import count, number, share
from backend.scaling.address import Along
from backend.scaling.ticks import Tick, even_ticks, power_ticks, rate_ticks, size_ticks
from backend.scaling.traces import Trace, bars, figure, law, line, log_axis, points, rank_colour
from backend.scaling.wording import beyond_swept, interval, power, short, size_interval
from data.artifacts.scaling import Cell, GridReport
from data.artifacts.scaling_laws import AllocationLaw, CurvePoint, IsoCurve

METRICS = {
    "loss": "Loss",
    "explained_variance": "Explained variance",
    "l0": "L0: active features per token",
    "dead_share": "Dead share",
    "rare_share": "Rare share",
}
SHARES = ("dead_share", "rare_share")
DRAWN_BEYOND = 100
"""Times the most compute of a cell up to which laws are drawn."""


@dataclass(frozen=True)
class Titled:
    """A figure under its heading, and what it shows in words."""

    title: str
    about: str
    figure: Figure


def anchor(cell: Cell) -> str:
    """The row of a cell in the table of the page."""
    return f"#cell-{cell.key}"


def compute_figure(grid: GridReport, cells: Sequence[Cell]) -> Titled:
    """Loss against compute: every cell, and the law at the best allocation."""
    sizes = sorted({cell.num_features for cell in cells})
    traces: list[Trace] = []
    if grid.loss:
        traces += law(grid.loss.curve, _near(grid.loss.beyond), "the law")
    for place, size in enumerate(sizes):
        mine = sorted((cell for cell in cells if cell.num_features == size), key=lambda cell: cell.flops)
        traces.append(
            _cells(mine, lambda cell: cell.flops, lambda cell: cell.loss, rank_colour(place, len(sizes)), count(size))
        )
    held_out = [cell for cell in cells if cell.held_out]
    if held_out:
        ring = _cells(held_out, lambda cell: cell.flops, lambda cell: cell.loss, "ink", "kept out")
        traces.append(ring | {"mode": "markers", "marker": {"symbol": "circle-open", "size": 13}})
    drawn = _near(grid.loss.beyond) if grid.loss else []
    losses = [*(cell.loss for cell in cells if cell.loss), *(point.value for point in drawn)]
    flops = power_ticks([*(cell.flops for cell in cells), *(point.x for point in drawn)])
    x, y = log_axis("FLOPs of training", flops), log_axis("Loss", even_ticks(losses))
    return Titled(
        "Loss against compute",
        "A line for each number of features, from few tokens to many. The law is that of the best allocation: it runs "
        "along the lowest of them. A ring marks what was kept out of the fit.",
        figure(traces, x, y, name_width=52),
    )


def iso_figure(grid: GridReport, cells: Sequence[Cell]) -> Titled | None:
    """Loss against size at equal compute, with the minima; None where there are no such curves."""
    curves = [curve for curve in grid.iso_curves if curve.points]
    if not curves:
        return None
    traces = [
        trace for place, curve in enumerate(curves) for trace in _iso(curve, rank_colour(place, len(curves)), cells)
    ]
    x = log_axis("Features", size_ticks([cell.num_features for cell in cells]))
    y = log_axis("Loss", even_ticks([point.loss for curve in curves for point in curve.points]))
    return Titled(
        "At equal compute, which size?",
        "Each curve is one number of FLOPs: to the right, more features and fewer tokens. A diamond marks its lowest "
        "point, a bar the 95% interval of that. Points lie between two cells of their size.",
        figure(traces, x, y),
    )


def best_figures(grid: GridReport, cells: Sequence[Cell]) -> list[Titled]:
    """The best number of features, and of tokens, against compute; none without a law."""
    sizes, tokens = [cell.num_features for cell in cells], [cell.num_tokens for cell in cells]
    return [
        _best(title, name, found, grid, field, ticks)
        for title, name, found, field, ticks in (
            ("The best number of features", "Features", grid.features, "num_features", size_ticks(sizes, 100)),
            ("The best number of tokens", "Tokens", grid.tokens, "num_tokens", size_ticks(tokens, 100)),
        )
        if found
    ]


def rate_figures(grid: GridReport) -> list[Titled]:
    """Loss against learning rate for each size that was swept, and the best ones against size."""
    cells = {cell.key: cell for cell in grid.usable}
    swept = [(one, [cells[key] for key in one.cells if key in cells]) for one in grid.swept]
    tried = [
        _cells(mine, lambda cell: cell.learning_rate, lambda cell: cell.loss, rank_colour(place, len(swept)),
               count(one.num_features))
        for place, (one, mine) in enumerate(swept)
        if mine
    ]  # fmt: skip
    if not tried:
        return []
    losses = [cell.loss for _, mine in swept for cell in mine if cell.loss]
    rates = [cell.learning_rate for _, mine in swept for cell in mine]
    found = [Titled(
        "Learning rates that were tried",
        f"A line for each number of features, at {short(grid.swept[0].num_tokens)} tokens.",
        figure(tried, log_axis("Learning rate", rate_ticks(rates)), log_axis("Loss", even_ticks(losses))),
    )]  # fmt: skip
    return [*found, _best_rates(grid)] if any(one.best for one in grid.swept) else found


def metric_figures(cells: Sequence[Cell], along: Along) -> list[Titled]:
    """Loss, explained variance, L0, dead and rare share along tokens or features; a line for each of the other."""
    return [
        Titled(title, "", _metric(cells, along, name, legend=place == 0))
        for place, (name, title) in enumerate(METRICS.items())
    ]


# ---- Their parts


def _cells(
    cells: Sequence[Cell], x: Callable[[Cell], float], y: Callable[[Cell], float | None], colour: str, name: str
) -> Trace:
    known = [(cell, value) for cell in cells if (value := y(cell)) is not None]
    return points(
        [x(cell) for cell, _ in known],
        [value for _, value in known],
        colour=colour,
        name=name,
        text=[told(cell) for cell, _ in known],
        hrefs=[anchor(cell) for cell, _ in known],
    )


def told(cell: Cell) -> str:
    """What a point tells of its cell."""
    return (
        f"{count(cell.num_features)} features, {short(cell.num_tokens)} tokens<br>"
        f"loss {number(cell.loss or 0.0, 4)}, {power(cell.flops)} FLOPs<br>learning rate {cell.learning_rate:.2g}"
        + ("<br>kept out of the fit" if cell.held_out else "")
    )


def _near(beyond: Sequence[CurvePoint]) -> list[CurvePoint]:
    """What is drawn of an extrapolation."""
    return [point for point in beyond if point.x <= DRAWN_BEYOND * beyond[0].x]


def _iso(curve: IsoCurve, colour: str, cells: Sequence[Cell]) -> list[Trace]:
    name = power(curve.flops)
    tell = [
        f"{count(round(p.num_features))} features, {short(p.num_tokens)} tokens<br>"
        f"loss {number(p.loss, 4)} at {name} FLOPs"
        for p in curve.points
    ]
    nearest = [anchor(_nearest(cells, p.num_features, p.num_tokens)) for p in curve.points]
    x, y = [p.num_features for p in curve.points], [p.loss for p in curve.points]
    mode = "markers" if curve.curve else "lines+markers"
    traces = [points(x, y, colour=colour, name=name, text=tell, hrefs=nearest, mode=mode)]
    if curve.curve:
        traces.append(line([p.num_features for p in curve.curve], [p.loss for p in curve.curve], colour=colour))
    if low := curve.minimum:
        features = size_interval(low.num_features, curve.minimum_features)
        said = f"lowest at {name} FLOPs: {features} features,<br>"
        said += f"{size_interval(low.num_tokens, curve.minimum_tokens)} tokens"
        lowest = points([low.num_features], [low.loss], colour=colour, text=[said], mode="markers",
                        symbol="diamond", size=13, legend=False)  # fmt: skip
        traces.append(lowest | bars("x", [low.num_features], [curve.minimum_features]))
    return traces


def _nearest(cells: Sequence[Cell], num_features: float, num_tokens: float) -> Cell:
    """The cell whose size and token count are nearest, in logarithms."""
    return min(
        cells,
        key=lambda cell: (
            abs(math.log(cell.num_features / num_features)),
            abs(math.log(cell.num_tokens / num_tokens)),
        ),
    )


def _best(
    title: str,
    axis: str,
    law_of_best: AllocationLaw,
    grid: GridReport,
    field: str,
    ticks: Sequence[Tick],
) -> Titled:
    minima = [curve for curve in grid.iso_curves if curve.minimum]
    traces = law(law_of_best.curve, _near(law_of_best.beyond), "by the law")
    if minima:
        x, y = [curve.flops for curve in minima], [getattr(curve.minimum, field) for curve in minima]
        found = [curve.minimum_features if field == "num_features" else curve.minimum_tokens for curve in minima]
        tell = [f"{size_interval(value, one)} at {power(flops)} FLOPs"
                for flops, value, one in zip(x, y, found, strict=True)]  # fmt: skip
        lowest = points(x, y, colour="warm", name="lowest of each curve", text=tell, mode="markers",
                        symbol="diamond", size=11)  # fmt: skip
        traces.append(lowest | bars("y", y, found))
    compute = log_axis(
        "FLOPs of training", power_ticks([point.x for point in (*law_of_best.curve, *_near(law_of_best.beyond))])
    )
    about = f"It grows as compute to the power of {interval(law_of_best.exponent)}."
    return Titled(title, about, figure(traces, compute, log_axis(axis, ticks)))


def _best_rates(grid: GridReport) -> Titled:
    found = [one for one in grid.swept if one.best]
    traces: list[Trace] = []
    about = grid.why_no_learning_rate
    if rates := grid.learning_rate:
        below = [point for point in rates.curve if point.x <= rates.smallest_swept]
        swept = [point for point in rates.curve if rates.covers(point.x)]
        beyond = [point for point in rates.curve if point.x >= rates.largest_swept]
        traces += law(swept, beyond, "by the law", below=below if len(below) > 1 else ())
        about = f"It changes as features to the power of {interval(rates.exponent)}{beyond_swept(rates)}."
    tell = [f"{one.best:.2g} at {count(one.num_features)} features" for one in found]
    x, y = [one.num_features for one in found], [one.best or 0.0 for one in found]
    traces.append(points(x, y, colour="warm", name="best of those tried", text=tell, mode="markers", symbol="diamond",
                         size=11))  # fmt: skip
    curve = rates.curve if rates else ()
    sizes, heights = [*x, *(point.x for point in curve)], [*y, *(point.value for point in curve)]
    return Titled(
        "The best learning rate",
        about,
        figure(traces, log_axis("Features", size_ticks(sizes)), log_axis("Learning rate", even_ticks(heights))),
    )


def _metric(cells: Sequence[Cell], along: Along, name: str, *, legend: bool) -> Figure:
    """One metric along tokens or features."""
    tokens = along == "tokens"
    lines = sorted({cell.num_features if tokens else cell.num_tokens for cell in cells})
    traces = []
    for place, one in enumerate(lines):
        mine = [cell for cell in cells if one == (cell.num_features if tokens else cell.num_tokens)]
        mine.sort(key=lambda cell: cell.num_tokens if tokens else cell.num_features)
        trace = _cells(
            mine,
            lambda cell: cell.num_tokens if tokens else cell.num_features,
            lambda cell: getattr(cell, name),
            rank_colour(place, len(lines)),
            f"{count(one)} features" if tokens else f"{short(one)} tokens",
        )
        known = [cell for cell in mine if getattr(cell, name) is not None]
        trace["text"] = [f"{told(cell)}<br>{METRICS[name]}: {value_text(cell, name)}" for cell in known]
        traces.append(trace | {"marker": {"size": 6}})
    values = [cell.num_tokens if tokens else cell.num_features for cell in cells]
    x = log_axis("Tokens" if tokens else "Features", size_ticks(values))
    y: Trace = {"nticks": 5, "tickformat": ".1~%" if name in SHARES else "~g"}
    return figure(traces, x, y | ({} if name == "loss" else {"rangemode": "tozero"}), legend=legend)


def value_text(cell: Cell, name: str) -> str:
    """A metric of a cell as pages show it; a dash where it has none."""
    value = getattr(cell, name)
    if value is None:
        return "–"
    return share(value, 2) if name in SHARES else number(value, 3)
