"""Names of places on the map: words that are frequent in one place and not elsewhere.

A word is scored in each cell of a grid as c-TF-IDF scores words of a class: with the features of a cell as the class,

    count of features with the word x log(its share of the cell's features / its share of all features)

The best words of a cell are its name, put where the features with the first word lie. This is done for a sequence of
sizes at which the map may be drawn, each larger by the square root of two, with a grid whose cells are as large on the
screen. At each size names take the room that those of smaller sizes have left, the highest score first: as boxes on the
screen keep their size and grow apart when the map grows, names that do not overlap when they appear never do.

Shapes: P points, N pairs of a point and a word, C pairs of a cell and a word that occurs in it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.published.maps import World
from data.published.regions import Region, box_of

Ints = npt.NDArray[np.int64]
FIRST_SIDE = 320.0
"""Pixels of the world's side at the smallest size that has names."""
GROWTH = math.sqrt(2)
SIZES = 26
"""Of the map: the largest is 5,800 times the smallest."""
CELL = 64.0
"""Pixels of a cell's side."""
FEWEST = 4
"""Features that must have a word in a cell."""
LEAST_LIFT = 3.0
"""A word's share of a cell must be this many times its share of the map."""
SECOND_SHARE = 0.4
"""A cell's second word is named too when its score is this part of the first one's."""
SECOND_NEAR = 0.25
"""And when its features lie, on average, this near to the first one's, in cells."""
LONGEST = 26
"""Characters of a name; a second word that makes it longer is left out."""
SAME_APART = 400.0
"""Pixels between two names with the same first word, at least."""
BUCKET = 256.0
"""Pixels of the side of the squares by which names near one another are found: no less than a name's width."""


class Candidate(NamedTuple):
    """A name that a cell would have."""

    word: int
    name: str
    x: float
    """Of 0 to 1, from the world's left edge."""
    y: float
    num_features: int


def name_regions(
    world: World,
    xy_P2: npt.NDArray[np.float32],
    point_N: Ints,
    word_N: Ints,
    texts: Sequence[str],
    weight_W: npt.NDArray[np.float64],
) -> list[Region]:
    """The named places of a map, in the order in which they appear as it grows, see the top of this file.

    point_N, word_N: which point has which word, each pair once. texts, weight_W: of the words by number, and what their
    scores are multiplied by.
    """
    place_P2 = (np.asarray(xy_P2, np.float64) - (world.x0, world.y0)) / world.size
    board, regions = Board(), []
    for number in range(SIZES if len(point_N) else 0):
        side = FIRST_SIDE * GROWTH**number
        board.grow(side)
        for one in candidates(place_P2, point_N, word_N, texts, weight_W, max(1, round(side / CELL))):
            if board.put(one):
                x, y = world.x0 + one.x * world.size, world.y0 + one.y * world.size
                regions.append(Region(one.name, x, y, side, one.num_features))
    return regions


def candidates(
    place_P2: npt.NDArray[np.float64],
    point_N: Ints,
    word_N: Ints,
    texts: Sequence[str],
    weight_W: npt.NDArray[np.float64],
    across: int,
) -> Iterator[Candidate]:
    """The names of the cells of a grid, so many across, the highest score first."""
    column_P, row_P = np.clip((place_P2 * across).astype(np.int64), 0, across - 1).T
    cell_P = row_P * across + column_P
    key_N = cell_P[point_N] * len(texts) + word_N
    key_C, pair_N, count_C = np.unique(key_N, return_inverse=True, return_counts=True)
    cell_C, word_C = np.divmod(key_C, len(texts))
    score_C = _scores(cell_P, cell_C, word_C, count_C, np.bincount(word_N, minlength=len(texts))) * weight_W[word_C]
    xy_C2 = np.stack([np.bincount(pair_N, axis_P[point_N]) for axis_P in place_P2.T], 1) / count_C[:, None]
    order = np.lexsort((word_C, -score_C, cell_C))
    order = order[score_C[order] > 0]
    firsts = np.flatnonzero(np.diff(cell_C[order], prepend=-1))
    for place in firsts[np.argsort(-score_C[order[firsts]], kind="stable")].tolist():
        first, second = order[place], order[place + 1] if place + 1 < len(order) else order[place]
        name, fits = texts[word_C[first]], second != first and cell_C[second] == cell_C[first]
        away = float(np.abs(xy_C2[second] - xy_C2[first]).max()) * across
        if fits and away <= SECOND_NEAR and score_C[second] >= SECOND_SHARE * score_C[first]:
            both = f"{name}, {texts[word_C[second]]}"
            name = both if len(both) <= LONGEST else name
        if len(name) <= LONGEST:
            x, y = xy_C2[first].tolist()
            yield Candidate(int(word_C[first]), name, x, y, int(count_C[first]))


def _scores(cell_P: Ints, cell_C: Ints, word_C: Ints, count_C: Ints, total_W: Ints) -> npt.NDArray[np.float64]:
    """The score of each word in each cell [C], 0 where it is too seldom or no more frequent than elsewhere."""
    cells, size = np.unique(cell_P, return_counts=True)
    share_C = count_C / size[np.searchsorted(cells, cell_C)]
    lift_C = share_C / (total_W[word_C] / len(cell_P))
    fits_C = (count_C >= FEWEST) & ((lift_C >= LEAST_LIFT) | (share_C > 0.5))
    return np.asarray(np.where(fits_C, count_C * (np.log(lift_C) + 0.1), 0))


class Board:
    """The names that have a place, at a size of the map that grows."""

    def __init__(self) -> None:
        self._placed: list[Candidate] = []
        self._side = 0.0
        self._buckets: dict[tuple[int, int], list[Candidate]] = {}

    def grow(self, side: float) -> None:
        """The side of the world is now so many pixels."""
        self._side, self._buckets = side, {}
        for one in self._placed:
            self._buckets.setdefault(self._bucket(one), []).append(one)

    def put(self, name: Candidate) -> bool:
        """Put a name where it belongs, if it overlaps none and none like it is near."""
        column, row = self._bucket(name)
        reach = math.ceil(SAME_APART / BUCKET)
        around = range(-reach, reach + 1)
        near = (one for c in around for r in around for one in self._buckets.get((column + c, row + r), ()))
        if any(self._collide(name, one) for one in near):
            return False
        self._placed.append(name)
        self._buckets.setdefault((column, row), []).append(name)
        return True

    def _bucket(self, one: Candidate) -> tuple[int, int]:
        return int(one.x * self._side // BUCKET), int(one.y * self._side // BUCKET)

    def _collide(self, one: Candidate, other: Candidate) -> bool:
        across, down = abs(one.x - other.x) * self._side, abs(one.y - other.y) * self._side
        (width, height), (other_width, _) = box_of(one.name), box_of(other.name)
        overlap = across < (width + other_width) / 2 and down < height
        return overlap or (one.word == other.word and math.hypot(across, down) < SAME_APART)
