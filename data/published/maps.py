"""The published map: its points so sorted that a view is a few ranges of them, and counts for views of too many.

    map/points.arrow   two batches per SAE in their order, live and minor points, sorted by code: MAP_POINTS
    map/regions.arrow  the names of places on it, see data/published/regions.py
    map/cells.arrow    one batch per level of each SAE's live points, then of all its points, sorted by code: MAP_CELLS

Minor points are rare or negligible features, which a view holds only when it is asked for them.

The world is a square that holds all points. At level z it is cut into 2^z x 2^z cells. A cell's code interleaves the
bits of its column and row (Morton or Z order), so that code >> 2 is the cell of the level above, and all points of a
cell of any level lie together. A point's code is that of its cell at level DEPTH.

Both files are memory-mapped. What a reader holds does not grow with the number of points, and a view reads at most
(COVER + 1)^2 ranges of each SAE, found by bisection.

Shapes: N points of one SAE, C cells, R ranges.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.arrow import read_arrow, write_arrow
from data.published.morton import Codes, interleave, separate
from data.published.schemas import MAP_CELLS, MAP_POINTS

MAP_FOLDER = "map"
POINTS_FILE, CELLS_FILE = "points.arrow", "cells.arrow"
DEPTH = 15
"""Codes have two bits for each level: 30 in all."""
COVER = 8
"""A view is covered by at most this many cells and one more along each axis."""
MARGIN = 0.01
"""Of the world's side, left free around the outermost points."""
MAP_METADATA_KEY = b"map"
"""Key of the schema's metadata: a JSON object with the world and the number of levels."""

Columns = Mapping[str, npt.NDArray[Any]]


class View(NamedTuple):
    """A rectangle of the map."""

    x0: float
    x1: float
    y0: float
    y1: float


class World(NamedTuple):
    """The square that holds all points."""

    x0: float
    y0: float
    size: float

    @property
    def view(self) -> View:
        return View(self.x0, self.x0 + self.size, self.y0, self.y0 + self.size)

    def numbers(self, values: npt.NDArray[Any], origin: float, level: int) -> npt.NDArray[np.int64]:
        """Columns (with x0 as origin) or rows (y0) of the cells that hold some coordinates; outside: the outermost."""
        cells = np.floor((np.asarray(values, np.float64) - origin) * (2**level / self.size))
        return np.asarray(np.clip(cells, 0, 2**level - 1), np.int64)


class Ranges(NamedTuple):
    """Codes [R] of one level at which ranges start, and those at which they stop."""

    start: Codes
    stop: Codes


def world_of(x_N: npt.NDArray[np.float32], y_N: npt.NDArray[np.float32]) -> World:
    """The square around some points, with a margin."""
    if len(x_N) == 0:
        return World(0.0, 0.0, 1.0)
    low, high = np.array([x_N.min(), y_N.min()], np.float64), np.array([x_N.max(), y_N.max()], np.float64)
    assert np.isfinite(high - low).all(), "a place on the map must be finite"
    size = float((high - low).max()) * (1 + 2 * MARGIN) or 1.0
    x0, y0 = ((low + high - size) / 2).tolist()
    return World(x0, y0, size)


def write_map(folder: Path, world: World, num_points: int, saes: Iterable[Columns]) -> None:
    """Write the map from the points of each SAE: `index`, `x`, `y`, `density`, `label_score`, and `live`, which says
    of each whether it is; `num_points` in all.

    Sorts one SAE at a time in memory: about 50 bytes a point.
    """
    levels = num_levels(num_points)
    folder.mkdir(parents=True)
    header = {MAP_METADATA_KEY: json.dumps({"world": world._asdict(), "levels": levels})}
    schemas = [schema.with_metadata(header) for schema in (MAP_POINTS, MAP_CELLS)]
    sorted_points = (sort_points(world, points) for both in saes for points in _by_kind(both))
    write_arrow(folder / POINTS_FILE, schemas[0], (_batch(schemas[0], points) for points in sorted_points))
    written = read_points(folder / POINTS_FILE)
    cells = (
        _batch(schemas[1], count_cells(points, level))
        for live, minor in zip(written, written, strict=True)  # in pairs
        for points in (live, _merged(live, minor))
        for level in range(levels)
    )
    write_arrow(folder / CELLS_FILE, schemas[1], cells)


def _by_kind(points: Columns) -> tuple[Columns, Columns]:
    """Live points and minor ones."""
    live_N, columns = points["live"], {name: values for name, values in points.items() if name != "live"}
    kinds = ({name: values[chosen_N] for name, values in columns.items()} for chosen_N in (live_N, ~live_N))
    return next(kinds), next(kinds)


def _merged(*parts: Columns) -> Columns:
    """Points of several batches, sorted by code."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order_N = np.argsort(joined["code"], kind="stable")
    return {name: values[order_N] for name, values in joined.items()}


def num_levels(num_points: int) -> int:
    """Levels that are counted: two beyond that on which as many cells as points would fit, since points cluster."""
    return min(DEPTH + 1, max(0, math.ceil(math.log(max(num_points, 1), 4))) + 3)


def sort_points(world: World, points: Columns) -> Columns:
    """MAP_POINTS of one SAE, sorted by code, then index."""
    column_N, row_N = (world.numbers(points[axis], getattr(world, f"{axis}0"), DEPTH) for axis in "xy")
    code_N = interleave(column_N, row_N)
    order_N = np.lexsort((points["index"], code_N))
    return {"code": code_N[order_N], **{name: values[order_N] for name, values in points.items()}}


def count_cells(points: Columns, level: int) -> Columns:
    """MAP_CELLS of one level from sorted points."""
    code_N = points["code"] >> np.uint32(2 * (DEPTH - level))
    first_C = np.flatnonzero(np.diff(code_N, prepend=code_N[:1] + 1 if len(code_N) else code_N))
    log_density_N = np.log10(points["density"], dtype=np.float64)
    return {
        "code": code_N[first_C],
        "count": np.diff(first_C, append=len(code_N)).astype(np.int32),
        "log_density": _means(log_density_N, first_C),
        "label_score": _means(points["label_score"].astype(np.float64), first_C),
    }


def read_points(path: Path) -> Iterator[Columns]:
    """The live and the minor points of every SAE, memory-mapped."""
    table = read_arrow(path)
    for number in range(table.column("code").num_chunks):
        yield _columns(table, number)


@dataclass(frozen=True)
class PublishedMap:
    """Read access to the map of one published run. SAEs are named by their position in the run."""

    folder: Path

    @cached_property
    def _points(self) -> pa.Table:
        return read_arrow(self.folder / POINTS_FILE)

    @cached_property
    def _cells(self) -> pa.Table:
        return read_arrow(self.folder / CELLS_FILE)

    @cached_property
    def _header(self) -> dict[str, Any]:
        return dict(json.loads(self._points.schema.metadata[MAP_METADATA_KEY]))

    @property
    def world(self) -> World:
        return World(**self._header["world"])

    @property
    def levels(self) -> int:
        """Cells are there for levels 0 to this less one."""
        return int(self._header["levels"])

    @property
    def num_points(self) -> int:
        """Live features on the map."""
        return len(self._points) - self.num_minor

    @cached_property
    def num_minor(self) -> int:
        """Rare and negligible features on the map."""
        return sum(len(chunk) for chunk in self._points.column("code").chunks[1::2])

    @property
    def has_scores(self) -> bool:
        """Whether any label of the run has a score."""
        wholes = range(0, self._cells.column("code").num_chunks, 2 * self.levels)
        return any(np.isfinite(_columns(self._cells, sae)["label_score"]).any() for sae in wholes)

    def reach(self, view: View, sae: int, *, minor: bool = False) -> int:
        """Number of points that must be read for a view: those in it and some around it. minor: with minor ones."""
        cover = self._cover(view, DEPTH)
        codes = (_columns(self._points, batch, ("code",))["code"] for batch in _point_batches(sae, minor))
        return sum(stop - start for code_N in codes for start, stop in _places(code_N, cover))

    def points(self, view: View, sae: int, *, minor: bool = False) -> Columns:
        """The points in a view, sorted by code; with minor ones after the live ones."""
        cover, parts = self._cover(view, DEPTH), []
        for batch in _point_batches(sae, minor):
            columns = _columns(self._points, batch)
            near = _read(columns, _places(columns["code"], cover))
            x_N, y_N = near["x"], near["y"]
            inside_N = (x_N >= view.x0) & (x_N <= view.x1) & (y_N >= view.y0) & (y_N <= view.y1)
            parts.append({name: values[inside_N] for name, values in near.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def num_cells(self, view: View, sae: int, level: int, *, minor: bool = False) -> int:
        """Number of cells of a level that must be read for a view."""
        code_C = _columns(self._cells, self._cell_batch(sae, level, minor), ("code",))["code"]
        return sum(stop - start for start, stop in _places(code_C, self._cover(view, level)))

    def _cell_batch(self, sae: int, level: int, minor: bool) -> int:
        return (2 * sae + minor) * self.levels + level

    def cells(self, view: View, sae: int, level: int, *, minor: bool = False) -> Columns:
        """The cells of a level that have points and touch a view: MAP_CELLS with `column` and `row`."""
        columns = _columns(self._cells, self._cell_batch(sae, level, minor))
        near = _read(columns, _places(columns["code"], self._cover(view, level)))
        column_C, row_C = separate(near["code"])
        (c0, c1), (r0, r1) = self._bounds(view, level)
        inside_C = (column_C >= c0) & (column_C <= c1) & (row_C >= r0) & (row_C <= r1)
        found = {**near, "column": column_C, "row": row_C}
        return {name: values[inside_C] for name, values in found.items()}

    def _bounds(self, view: View, level: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """First and last column, first and last row of the cells that touch a view."""
        world = self.world
        columns = world.numbers(np.array([view.x0, view.x1]), world.x0, level)
        rows = world.numbers(np.array([view.y0, view.y1]), world.y0, level)
        return (int(columns[0]), int(columns[1])), (int(rows[0]), int(rows[1]))

    def _cover(self, view: View, level: int) -> Ranges:
        """Ranges of the codes of a level that hold all cells that touch a view: none when it lies outside the world."""
        whole = self.world.view
        if view.x1 < whole.x0 or view.x0 > whole.x1 or view.y1 < whole.y0 or view.y0 > whole.y1:
            return Ranges(np.zeros(0, np.uint32), np.zeros(0, np.uint32))
        side = min(1.0, max(view.x1 - view.x0, view.y1 - view.y0) / self.world.size)
        coarse = min(level, math.floor(math.log2(COVER / side))) if side > 2.0**-DEPTH else level
        (c0, c1), (r0, r1) = self._bounds(view, coarse)
        column_R, row_R = np.meshgrid(np.arange(c0, c1 + 1), np.arange(r0, r1 + 1))
        code_R = np.sort(interleave(column_R.ravel(), row_R.ravel()))
        shift = np.uint32(2 * (level - coarse))
        return Ranges(code_R << shift, (code_R + np.uint32(1)) << shift)


def _point_batches(sae: int, minor: bool) -> range:
    return range(2 * sae, 2 * sae + 1 + minor)


def _places(code_N: Codes, ranges: Ranges) -> list[tuple[int, int]]:
    """Places of ranges of codes among sorted codes; those that follow one another are one, empty ones are left out."""
    starts, stops = np.searchsorted(code_N, ranges.start).tolist(), np.searchsorted(code_N, ranges.stop).tolist()
    merged: list[tuple[int, int]] = []
    for start, stop in zip(starts, stops, strict=True):
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], stop)
        elif stop > start:
            merged.append((start, stop))
    return merged


def _read(columns: Columns, places: list[tuple[int, int]]) -> Columns:
    return {
        name: np.concatenate([values[:0], *(values[start:stop] for start, stop in places)])
        for name, values in columns.items()
    }


def _columns(table: pa.Table, batch: int, names: Iterable[str] | None = None) -> Columns:
    """The columns of one batch of a file, not copied."""
    return {name: table.column(name).chunk(batch).to_numpy() for name in names or table.schema.names}


def _batch(schema: pa.Schema, columns: Columns) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(columns[f.name], f.type) for f in schema], schema=schema)


def _means(values_N: npt.NDArray[np.float64], first_C: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Of the values from each place to the next, those that are NaN left out; NaN where all are."""
    if len(first_C) == 0:
        return np.zeros(0, np.float32)
    known_N = ~np.isnan(values_N)
    sums_C = np.add.reduceat(np.where(known_N, values_N, 0), first_C)
    counts_C = np.add.reduceat(known_N.astype(np.int64), first_C)
    return np.asarray(np.where(counts_C > 0, sums_C / np.maximum(counts_C, 1), np.nan), np.float32)
