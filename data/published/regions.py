"""The names of places on the map: map/regions.arrow, one batch of MAP_REGIONS.

A name is shown once the map is drawn large enough for it: when the side of the world is `side` pixels or more on the
screen. They are sorted by side, then by weight, so that where two would overlap after all the first one has the place;
as they are measured here, none do at any size.

Shapes: N names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow, write_arrow
from data.published.maps import View
from data.published.schemas import MAP_REGIONS

REGIONS_FILE = "regions.arrow"
CHARACTER_WIDTH, PADDING, HEIGHT = 7.6, 18.0, 24.0
"""Pixels that a name takes: for each character, besides, and in height, with room around it."""


class Region(NamedTuple):
    """A named place."""

    name: str
    x: float
    y: float
    side: float
    """Pixels of the world's side on the screen from which on the name has room."""
    num_features: int
    """Features that have its first word there."""


def box_of(name: str) -> tuple[float, float]:
    """Width and height that a name takes on the screen, in pixels."""
    return PADDING + CHARACTER_WIDTH * len(name), HEIGHT


def write_regions(folder: Path, regions: Sequence[Region]) -> None:
    """Write the names of a map, in their order, into its folder."""
    batch = pa.RecordBatch.from_pylist([region._asdict() for region in regions], schema=MAP_REGIONS)
    write_arrow(folder / REGIONS_FILE, MAP_REGIONS, [batch])


@dataclass(frozen=True)
class PublishedRegions:
    """Read access to the names of one published map."""

    folder: Path

    @cached_property
    def _table(self) -> pa.Table:
        return read_arrow(self.folder / REGIONS_FILE)

    def __len__(self) -> int:
        return len(self._table)

    def within(self, view: View, side: float, limit: int) -> list[Region]:
        """At most `limit` names in a view that have room where the world's side is so many pixels, first ones first."""
        x_N, y_N, side_N = (self._table[name].to_numpy() for name in ("x", "y", "side"))
        shown_N = (side_N <= side) & (x_N >= view.x0) & (x_N <= view.x1) & (y_N >= view.y0) & (y_N <= view.y1)
        found = self._table.take(pa.array(np.flatnonzero(shown_N)[:limit])).to_pylist()
        return [Region(**one) for one in found]
