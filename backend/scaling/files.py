"""The data of scaling laws as CSV."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any, Literal

from backend.published.catalogue import OpenRun
from data.artifacts.scaling import Cell, GridReport

MEDIA_TYPE = "text/csv"
Table = Literal["cells", "curves", "iso-curves", "predictions"]
TABLES: dict[Table, str] = {
    "cells": "Cells",
    "curves": "Fitted curves",
    "iso-curves": "Curves of equal compute",
    "predictions": "Predictions",
}


def csv_address(run: OpenRun, grid: GridReport, table: Table) -> str:
    """The address of a table of a grid."""
    return f"/api/v1/scaling/{run.name}/{grid.key}/{table}.csv"


def write_table(grid: GridReport, table: Table) -> str:
    """A table of a grid as CSV."""
    rows = {"cells": _cells, "curves": _curves, "iso-curves": _iso_curves, "predictions": _predictions}[table](grid)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _cells(grid: GridReport) -> Iterator[Sequence[Any]]:
    names = [field.name for field in fields(Cell)]
    yield names
    for cell in grid.cells:
        values = asdict(cell)
        yield [values[name] for name in names]


def _curves(grid: GridReport) -> Iterator[Sequence[Any]]:
    yield ("curve", "of", "extrapolated", "x", "value", "low", "high")
    for name, law in (("loss", grid.loss), ("features", grid.features), ("tokens", grid.tokens)):
        for part in ("curve", "beyond"):
            for point in getattr(law, part, ()):
                yield (name, "flops", part == "beyond", point.x, point.value, point.low, point.high)
    if rates := grid.learning_rate:
        for point in rates.curve:
            yield ("learning_rate", "features", not rates.covers(point.x), point.x, point.value, point.low, point.high)


def _iso_curves(grid: GridReport) -> Iterator[Sequence[Any]]:
    names = ("num_features", "num_tokens", "loss")
    yield ("flops", "kind", *names, *(f"{name}_{end}" for name in names for end in ("low", "high")))
    for curve in grid.iso_curves:
        for kind, points in (("point", curve.points), ("parabola", curve.curve)):
            for point in points:
                yield (curve.flops, kind, point.num_features, point.num_tokens, point.loss, *[""] * 2 * len(names))
        if low := curve.minimum:
            found = (curve.minimum_features, curve.minimum_tokens, curve.minimum_loss)
            ends = [end for one in found for end in ((one.low, one.high) if one else ("", ""))]
            yield (curve.flops, "minimum", low.num_features, low.num_tokens, low.loss, *ends)


def _predictions(grid: GridReport) -> Iterator[Sequence[Any]]:
    yield ("cell", "predicted", "low", "high", "measured", "error", "inside")
    for one in grid.predictions:
        yield (
            one.cell,
            one.predicted.value,
            one.predicted.low,
            one.predicted.high,
            one.measured,
            one.error,
            one.inside,
        )
