"""Selections on the map: features that a search finds, and features inside a shape that was drawn.

Shapes: N points of one SAE, V corners of a polygon.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.exceptions import RefusedError
from backend.map.views import MAX_POINTS, num_reached
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.features import SUMMARY, FeatureSummary, get_summaries, to_summaries
from backend.published.search import Vector, WordSearch, matching_rows
from data.published.maps import View

MAX_CORNERS = 100
MAX_SELECTED = 500
"""Features of a shape that are listed: those nearest to its middle."""
MAX_HITS = 500
"""Features that a search marks on the map: those that match best."""


@dataclass(frozen=True)
class Hit:
    """A feature that the search finds, and its place on the map."""

    feature: FeatureSummary
    x: float
    y: float


@dataclass(frozen=True)
class Hits:
    """Live features that a search finds, by words or by meaning."""

    more: bool
    """Whether there are more, beyond the limit of the search."""
    hits: list[Hit]
    """At most MAX_HITS, the best match first."""


@dataclass(frozen=True)
class Selected:
    """The features inside a shape."""

    total: int | None
    """None when it encloses more than can be counted at once."""
    features: list[FeatureSummary]
    """At most MAX_SELECTED, the nearest to the middle first."""


def find_hits(run: OpenRun, saes: list[OpenSAE], q: str, vector: Vector | None, *, minor: bool = False) -> Hits:
    """The live features of some SAEs that the search finds, with their places, or minor ones too.

    vector: of `q`, see the search.
    """
    asked = WordSearch.model_validate({"q": q, "minor": minor})
    rows = matching_rows(run, asked, saes, MAX_HITS + 1, vector)
    found = run.tables.take("features", rows[:MAX_HITS], [*SUMMARY, "x", "y"])
    places = zip(to_summaries(run, found), found["x"].to_pylist(), found["y"].to_pylist(), strict=True)
    return Hits(len(rows) > MAX_HITS, [Hit(*one) for one in places])


def read_polygon(text: str) -> npt.NDArray[np.float64]:
    """Corners [V, 2] from `x,y,x,y,...`. Raises RefusedError."""
    try:
        corners = np.array([float(part) for part in text.split(",")])
    except ValueError:
        corners = np.zeros(0)
    if len(corners) % 2 or not 6 <= len(corners) <= 2 * MAX_CORNERS or not np.isfinite(corners).all():
        raise RefusedError(f"The shape must be x,y,x,y,... with 3 to {MAX_CORNERS} corners; draw it on the map again.")
    return corners.reshape(-1, 2)


def select(run: OpenRun, saes: list[OpenSAE], corners_V2: npt.NDArray[np.float64], *, minor: bool = False) -> Selected:
    """The features of some SAEs inside a polygon."""
    (x0, y0), (x1, y1) = corners_V2.min(0).tolist(), corners_V2.max(0).tolist()
    view = View(x0, x1, y0, y1)
    if num_reached(run, view, [sae.record.position for sae in saes], minor=minor) > MAX_POINTS:
        return Selected(None, [])
    rows, distances = [], []
    for sae in saes:
        points = run.map.points(view, sae.record.position, minor=minor)
        xy_N2 = np.stack([points["x"], points["y"]], 1).astype(np.float64)
        inside_N = contains(corners_V2, xy_N2)
        rows.append(sae.record.first_row + points["index"][inside_N].astype(np.int64))
        distances.append(np.square(xy_N2[inside_N] - corners_V2.mean(0)).sum(1))
    row_N, distance_N = np.concatenate(rows), np.concatenate(distances)
    nearest = row_N[np.argsort(distance_N, kind="stable")[:MAX_SELECTED]]
    return Selected(len(row_N), get_summaries(run, nearest.tolist()))


def contains(corners_V2: npt.NDArray[np.float64], xy_N2: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """A mask [N] of the points inside a polygon: a ray to the right crosses its sides an odd number of times."""
    inside_N = np.zeros(len(xy_N2), bool)
    x_N, y_N = xy_N2.T
    for (xa, ya), (xb, yb) in zip(corners_V2, np.roll(corners_V2, -1, 0), strict=True):
        if ya != yb:
            crosses_N: Any = (ya > y_N) != (yb > y_N)
            inside_N ^= crosses_N & (x_N < (xb - xa) * (y_N - ya) / (yb - ya) + xa)
    return inside_N
