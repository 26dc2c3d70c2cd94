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
SHIFTS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))
"""Of the grids, in cells."""
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
WEIGHTY_SIDE = 96.0
"""Pixels of the world's side from which on a word of weight 1 is named; one of half the weight from twice that on."""
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
    score: float


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
    scores are multiplied by, 0 to 1; a word of small weight has to wait until the map is larger.
    """
    place_P2 = (np.asarray(xy_P2, np.float64) - (world.x0, world.y0)) / world.size
    board, regions = Board(), []
    for number in range(SIZES if len(point_N) else 0):
        side = FIRST_SIDE * GROWTH**number
        board.grow(side)
        for one in candidates(place_P2, point_N, word_N, texts, weight_W, max(1, round(side / CELL))):
            if weight_W[one.word] * side >= WEIGHTY_SIDE and board.put(one):
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
) -> list[Candidate]:
    """The names of the cells of grids, so many cells across, the highest score first.

    There are four grids, each half a cell away from another, so that no place is cut by the borders of all.
    """
    found = []
    for shift in SHIFTS:
        cell_P2 = np.clip((place_P2 * across + shift).astype(np.int64), 0, across)
        cell_P = cell_P2[:, 1] * (across + 1) + cell_P2[:, 0]
        words = _words_of_cells(cell_P, place_P2, point_N, word_N, weight_W)
        found += list(_names(words, texts, across))
    return sorted(found, key=lambda one: (-one.score, one.name))


class _CellWords(NamedTuple):
    """The words of cells that may name them, cell by cell, the best first."""

    cell_C: Ints
    word_C: Ints
    score_C: npt.NDArray[np.float64]
    count_C: Ints
    xy_C2: npt.NDArray[np.float64]
    """Mean place of the features that have the word."""


def _words_of_cells(
    cell_P: Ints,
    place_P2: npt.NDArray[np.float64],
    point_N: Ints,
    word_N: Ints,
    weight_W: npt.NDArray[np.float64],
) -> _CellWords:
    key_C, pair_N, count_C = np.unique(
        cell_P[point_N] * len(weight_W) + word_N, return_inverse=True, return_counts=True
    )
    cell_C, word_C = np.divmod(key_C, len(weight_W))
    total_W = np.bincount(word_N, minlength=len(weight_W))
    score_C = _scores(cell_P, cell_C, word_C, count_C, total_W) * weight_W[word_C]
    xy_C2 = np.stack([np.bincount(pair_N, axis_P[point_N]) for axis_P in place_P2.T], 1) / count_C[:, None]
    order = np.lexsort((word_C, -score_C, cell_C))
    order = order[score_C[order] > 0]
    return _CellWords(cell_C[order], word_C[order], score_C[order], count_C[order], xy_C2[order])


def _names(words: _CellWords, texts: Sequence[str], across: int) -> Iterator[Candidate]:
    """A name for each cell: its best word, with its second where that belongs to the same place."""
    last = len(words.cell_C) - 1
    for first in np.flatnonzero(np.diff(words.cell_C, prepend=-1)).tolist():
        name, second = texts[words.word_C[first]], min(first + 1, last)
        same = second != first and words.cell_C[second] == words.cell_C[first]
        near = float(np.abs(words.xy_C2[second] - words.xy_C2[first]).max()) * across <= SECOND_NEAR
        if same and near and words.score_C[second] >= SECOND_SHARE * words.score_C[first]:
            both = f"{name}, {texts[words.word_C[second]]}"
            name = both if len(both) <= LONGEST else name
        if len(name) <= LONGEST:
            x, y = words.xy_C2[first].tolist()
            score, count = float(words.score_C[first]), int(words.count_C[first])
            yield Candidate(int(words.word_C[first]), name, x, y, count, score)


def _scores(cell_P: Ints, cell_C: Ints, word_C: Ints, count_C: Ints, total_W: Ints) -> npt.NDArray[np.float64]:
    """The score of each word in each cell [C], 0 where it is too seldom or hardly more frequent than elsewhere."""
    cells, size = np.unique(cell_P, return_counts=True)
    lift_C = count_C / size[np.searchsorted(cells, cell_C)] / (total_W[word_C] / len(cell_P))
    return np.asarray(np.where((count_C >= FEWEST) & (lift_C >= LEAST_LIFT), count_C * np.log(lift_C), 0))


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
