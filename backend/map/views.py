"""Views of the map: points near in, counts of cells far out, in one compact binary answer of bounded size.

    u32        length of the header in bytes, little-endian
    header     JSON, padded with spaces to a multiple of 4 bytes: MapHeader
    arrays     those that the header names, one after the other, little-endian

Binary, since a browser takes its arrays as they are: 50,000 points are 0.8 MB and no parsing, as JSON 3 MB and a stall.

Shapes: N points or cells of all SAEs shown, one SAE after the other.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from backend.exceptions import NotFoundError, RefusedError
from backend.published.catalogue import OpenRun, OpenSAE
from backend.texts import Typed
from data.published.maps import Columns, View

MAX_POINTS = 50_000
"""Views with more points are sent as cells: 16 bytes a point, 0.8 MB."""
MAX_CELLS = 50_000
"""12 bytes a cell, 0.6 MB."""
CELLS_ACROSS = 512
"""Finer cells than this would be smaller than what a screen shows."""
ALIGNMENT = 4
MapColour = Literal["sae", "density", "score"]
VALUES: dict[MapColour, str | None] = {"sae": None, "density": "log_density", "score": "label_score"}
"""The column that each colour shows."""
Coordinate = Annotated[float | None, Field(allow_inf_nan=False)]


class ViewQuery(Typed):
    """The query string of a view. Without an edge, the view reaches to the edge of the map."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    x0: Coordinate = None
    """Left edge."""
    x1: Coordinate = None
    """Right edge."""
    y0: Coordinate = None
    """Lower edge."""
    y1: Coordinate = None
    """Upper edge."""
    key: str = Field("", max_length=64)
    """Key of the published state. With it the answer never changes, and may be kept for good."""


class RegionQuery(ViewQuery):
    """The query string of the names in a view."""

    side: float = Field(640.0, gt=0, le=1e9)
    """Pixels of the whole map's side on the screen: names that have no room there are left out."""


class MapQuery(ViewQuery):
    """The query string of the points or cells in a view."""

    saes: str = Field("", max_length=2000)
    """Names of the SAEs shown, with commas between; all by default."""
    minor: bool = False
    """Whether rare and negligible features are shown too."""
    colour: MapColour = "sae"
    """The meaning of `value`: nothing, log10 of the density, or the score of the label."""


@dataclass(frozen=True)
class SAECount:
    """The number of points or cells of an SAE."""

    sae: str
    count: int


@dataclass(frozen=True)
class MapHeader:
    """The description of a response's arrays."""

    kind: Literal["points", "cells"]
    view: View
    world: dict[str, float]
    """The square that holds the whole map: x0, y0, size. Column 0 and row 0 of the cells begin at x0 and y0."""
    level: int | None
    """The world is cut into 2^level x 2^level cells; None for points."""
    saes: list[SAECount]
    """In the order in which their points or cells come."""
    arrays: list[tuple[str, str]]
    """Name and type of each, all as long as the counts together.

    Points: x, y (float32), index (int32). Cells: count (int32), column, row (uint16). Both: value (float32) by colour.
    """


def chosen_saes(run: OpenRun, names: str) -> list[OpenSAE]:
    """The SAEs of a run that a list with commas names, in the run's order; all by default. Raises NotFoundError."""
    wanted = [name for name in names.split(",") if name]
    known = {sae.name for sae in run.saes}
    if unknown := next((name for name in wanted if name not in known), None):
        raise NotFoundError(f"There is no SAE '{unknown}' in run '{run.name}'.")
    return [sae for sae in run.saes if not wanted or sae.name in wanted]


def asked_view(run: OpenRun, asked: ViewQuery) -> View:
    """The rectangle of a query. Raises RefusedError when it is inverted."""
    whole = run.map.world.view
    edges = (asked.x0, asked.x1, asked.y0, asked.y1)
    view = View(*(edge if given is None else given for given, edge in zip(edges, whole, strict=True)))
    if view.x0 > view.x1 or view.y0 > view.y1:
        raise RefusedError("The view is inverted: x0 must not be above x1, nor y0 above y1.")
    return view


def make_view(run: OpenRun, asked: MapQuery) -> bytes:
    """The answer to a view: its points where they are few enough, or else the cells of the finest level that fits."""
    view, saes = asked_view(run, asked), chosen_saes(run, asked.saes)
    positions = [sae.record.position for sae in saes]
    minor, map_ = asked.minor, run.map
    few = num_reached(run, view, positions, minor=minor) <= MAX_POINTS
    level = None if few else finest_level(run, view, positions, minor=minor)
    parts = [
        map_.points(view, p, minor=minor) if level is None else map_.cells(view, p, level, minor=minor)
        for p in positions
    ]
    arrays = _point_arrays(parts, asked.colour) if level is None else _cell_arrays(parts, asked.colour)
    header = MapHeader(
        kind="points" if level is None else "cells",
        view=view,
        world=run.map.world._asdict(),
        level=level,
        saes=[SAECount(sae.name, len(part["code"])) for sae, part in zip(saes, parts, strict=True)],
        arrays=[(name, values.dtype.name) for name, values in arrays.items()],
    )
    return encode(header, arrays.values())


def num_reached(run: OpenRun, view: View, positions: Iterable[int], *, minor: bool = False) -> int:
    """Points that must be read for a view."""
    return sum(run.map.reach(view, position, minor=minor) for position in positions)


def finest_level(run: OpenRun, view: View, positions: Sequence[int], *, minor: bool = False) -> int:
    """The deepest level at which a view has no more cells than a response or a screen can hold."""
    side = max(view.x1 - view.x0, view.y1 - view.y0) / run.map.world.size
    coarse = (level for level in range(run.map.levels - 1, 0, -1) if side * 2**level <= CELLS_ACROSS)
    return next((level for level in coarse if _num_cells(run, view, positions, level, minor) <= MAX_CELLS), 0)


def _num_cells(run: OpenRun, view: View, positions: Iterable[int], level: int, minor: bool) -> int:
    return sum(run.map.num_cells(view, position, level, minor=minor) for position in positions)


def encode(header: MapHeader, arrays: Iterable[npt.NDArray[Any]]) -> bytes:
    """The bytes of an answer, see the top of this file."""
    text = json.dumps(asdict(header), separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return b"".join([struct.pack("<I", len(text)), text, *(array.tobytes() for array in arrays)])


def _point_arrays(parts: list[Columns], colour: MapColour) -> dict[str, npt.NDArray[Any]]:
    arrays = {name: _joined(parts, name) for name in ("x", "y", "index")}
    if colour == "density":
        arrays["value"] = np.log10(_joined(parts, "density"))
    elif name := VALUES[colour]:
        arrays["value"] = _joined(parts, name)
    return arrays


def _cell_arrays(parts: list[Columns], colour: MapColour) -> dict[str, npt.NDArray[Any]]:
    """The arrays of cells, those of four bytes first, so that all are aligned."""
    arrays = {"count": _joined(parts, "count")}
    if name := VALUES[colour]:
        arrays["value"] = _joined(parts, name)
    return {**arrays, "column": _joined(parts, "column"), "row": _joined(parts, "row")}


def _joined(parts: list[Columns], name: str) -> npt.NDArray[Any]:
    return np.concatenate([part[name] for part in parts])
