"""Published tables of the map: the place of every feature, and the points of each SAE.

Shapes: N points of one SAE.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.features import EXAMPLES_FILE, MAP, MAP_FILE, STATISTICS_FILE, FeatureKinds
from data.artifacts.labels import read_labels
from data.published.maps import World, world_of
from data.published.regions import Region
from pipeline.geometry.regions import name_regions
from pipeline.publishing.region_words import RegionWords
from pipeline.publishing.telling import TellingWords

AXES = ("x", "y")


@dataclass(frozen=True)
class MapTables:
    """The joint map of a run's SAEs."""

    folders: dict[str, Path]
    """The artifact of every stage."""
    saes: tuple[str, ...]
    """Names in the order of the recipe."""
    sizes: list[int]
    """Features of every SAE."""
    first_rows: list[int]
    """Row of feature 0 of every SAE."""
    kinds: dict[str, FeatureKinds]
    """The live, rare, negligible and dead features of every SAE."""

    @property
    def num_points(self) -> int:
        """Features on the map, minor ones too."""
        return len(self._points["row"])

    def world(self) -> World:
        """The square of the map that holds them."""
        return world_of(self._points["x"], self._points["y"])

    def points(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Points of each SAE on the map, see data.published.maps.write_map."""
        for name, first, size in zip(self.saes, self.first_rows, self.sizes, strict=True):
            some = self._between(first, first + size)
            index_N = self._points["row"][some] - first
            statistics = read_arrow(self.folders["examples"] / name / STATISTICS_FILE)
            yield {
                "index": index_N.astype(np.int32),
                **{axis: self._points[axis][some] for axis in AXES},
                "density": statistics["density"].to_numpy()[index_N],
                "label_score": self._labels(name)["label_score"].to_numpy()[index_N],
                "live": self.kinds[name].live_F[index_N],
            }

    def regions(self, telling: TellingWords) -> list[Region]:
        """The names of places on it, from live features alone."""
        found, places = RegionWords(telling), []
        for name, first, size in zip(self.saes, self.first_rows, self.sizes, strict=True):
            some = self._between(first, first + size)
            index_N = self._points["row"][some] - first
            live_N = self.kinds[name].live_F[index_N]
            labels = self._labels(name)["label"].combine_chunks()
            found.add(labels, read_arrow(self.folders["examples"] / name / EXAMPLES_FILE), index_N[live_N])
            places.append(np.stack([self._points[axis][some][live_N] for axis in AXES], 1))
        return name_regions(self.world(), np.concatenate(places), *found.finish())

    def places(self, start: int, stop: int) -> dict[str, pa.Array]:
        """Places of the features of some rows; null for those that are not on the map."""
        some = self._between(start, stop)
        at_N = self._points["row"][some] - start
        places = {}
        for axis in AXES:
            values, missing = np.zeros(stop - start, np.float32), np.ones(stop - start, bool)
            values[at_N], missing[at_N] = self._points[axis][some], False
            places[axis] = pa.array(values, mask=missing)
        return places

    def _labels(self, sae: str) -> pa.Table:
        return read_labels(self.folders["explain"], self.folders["score"], sae)

    def _between(self, start: int, stop: int) -> slice:
        """The points of some rows."""
        return slice(*np.searchsorted(self._points["row"], (start, stop)).tolist())

    @cached_property
    def _points(self) -> dict[str, npt.NDArray[Any]]:
        """Columns of the map, sorted by row."""
        points = read_arrow(self.folders["project"] / MAP_FILE).sort_by("row")
        return {name: points[name].to_numpy() for name in MAP.names}
