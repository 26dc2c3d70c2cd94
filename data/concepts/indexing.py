"""Tokens with an index: where each token of the vocabulary stands, so that a word is found without reading the text.

    tokens.npy    the tokens of texts one after the other, `outside` behind each, in the smallest type that holds them
    places.npy    where tokens stand, those of one token in a row, ascending
    first.npy     where in places.npy those of each token begin, and after the last their number

That is 6 bytes a token for vocabularies up to 65,535 and 8 for larger ones, read as memory maps. `outside` is the
number of tokens in the vocabulary. Shapes: N tokens of texts, B of a block, P places, V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

Ints = npt.NDArray[np.int64]
TOKENS_FILE, PLACES_FILE, FIRST_FILE = "tokens.npy", "places.npy", "first.npy"


class TokenIndex(NamedTuple):
    """Tokens, and where each stands."""

    token_N: npt.NDArray[Any]
    place_P: npt.NDArray[Any]
    first_V: Ints
    """[V + 1]"""

    @classmethod
    def load(cls, folder: Path) -> "TokenIndex":
        """Map the files of a folder into memory."""
        files = (np.load(folder / name, mmap_mode="r") for name in (TOKENS_FILE, PLACES_FILE, FIRST_FILE))
        return cls(*map(np.asarray, files))

    @property
    def outside(self) -> int:
        """The token that stands behind every text."""
        return len(self.first_V) - 1

    @property
    def num_tokens(self) -> int:
        """Tokens of the texts, those between them left out."""
        return len(self.place_P)

    def places(self, tokens: Sequence[int] | Ints) -> Ints:
        """Where any of some different tokens stands, ascending."""
        parts = [self.place_P[self.first_V[token] : self.first_V[token + 1]] for token in tokens]
        return np.sort(np.concatenate([np.zeros(0, np.int64), *parts]))


def write_token_index(folder: Path, read: Callable[[], Iterable[Ints]], outside: int) -> None:
    """Write an index, a block of texts at a time. read: gives the blocks, `outside` behind each text; called twice."""
    count_V = np.zeros(outside + 1, np.int64)
    for token_B in read():
        count_V += np.bincount(token_B, minlength=outside + 1)
    size, first_V = int(count_V.sum()), np.concatenate([[0], np.cumsum(count_V[:outside])])
    folder.mkdir(parents=True)
    tokens = open_memmap(folder / TOKENS_FILE, "w+", np.min_scalar_type(outside), (size,))
    places = open_memmap(folder / PLACES_FILE, "w+", np.min_scalar_type(size), (int(first_V[-1]),))
    free_V, start = first_V[:-1].copy(), 0
    for token_B in read():
        tokens[start : start + len(token_B)] = token_B
        place_B = np.argsort(token_B, kind="stable")
        place_B = place_B[: np.searchsorted(token_B[place_B], outside)]
        sorted_B = token_B[place_B]
        rank_B = np.arange(len(sorted_B)) - np.searchsorted(sorted_B, sorted_B)
        places[free_V[sorted_B] + rank_B] = start + place_B
        free_V += np.bincount(sorted_B, minlength=outside)
        start += len(token_B)
    np.save(folder / FIRST_FILE, first_V)
