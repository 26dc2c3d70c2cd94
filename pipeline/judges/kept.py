"""Lines of JSON on disk, to which several commands may add, and the finding of one by its key.

Of every line only a number of its key and its place are in memory: 16 bytes.
"""

import fcntl
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import NonsenseError
from pipeline.arrays import Ints

Numbers = npt.NDArray[np.uint64]
KEYED = re.compile(rb'\["([0-9a-f]{16})[0-9a-f]{16}",.*\]\n')
MERGE_FROM = 1 << 16
"""Places that are known beside those in order, before they are sorted in."""
MAX_NONSENSE = 0.2
"""Share of a judge's answers that cannot be used; with more it is no judge."""


class KeptLines:
    """A file of lines of JSON, to which several commands may add at the same time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Iterator[list[Any]]:
        """All lines that are lists. One that was cut off by a kill is none."""
        for _, line in self._lines():
            found = _parsed(line)
            if found is not None:
                yield found

    def places(self) -> tuple[Numbers, Ints]:
        """The first half of the key with which each line begins, as a number, and the place of the line."""
        keys, places = array("Q"), array("q")
        for place, line in self._lines():
            if found := KEYED.fullmatch(line):
                keys.append(int(found[1], 16))
                places.append(place)
        return np.array(keys, np.uint64), np.array(places, np.int64)

    def at(self, places: Sequence[int]) -> Iterator[list[Any] | None]:
        """The lines at some places, each None where it was cut off."""
        if not places:
            return
        with self._path.open("rb") as file:
            for place in places:
                file.seek(place)
                yield _parsed(file.readline())

    def add(self, rows: Iterable[list[Any]]) -> list[int]:
        """Write rows behind the others; the place of each."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row).encode() + b"\n" for row in rows]
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not self._ends_well():
                file.write(b"\n")
                file.flush()
            first = file.seek(0, 2)
            file.write(b"".join(lines))
        sizes = np.array([len(line) for line in lines], np.int64)
        places: list[int] = (first + np.cumsum(sizes) - sizes).tolist()
        return places

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        if not self._path.is_file():
            return
        place = 0
        with self._path.open("rb") as file:
            for line in file:
                yield place, line
                place += len(line)

    def _ends_well(self) -> bool:
        """Whether the file ends with a whole line, or is empty."""
        with self._path.open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                return True
            file.seek(-1, 2)
            return file.read(1) == b"\n"


class KeptRows:
    """Lines that begin with a key of 32 hexadecimal digits, found by it; of two with the same the later one."""

    def __init__(self, lines: KeptLines) -> None:
        self._lines = lines
        self._new: dict[int, int] = {}
        self._key_N, self._place_N = _in_order(*lines.places())

    def find(self, keys: Sequence[str]) -> dict[str, list[Any]]:
        """The rows of those keys that are there."""
        numbers = [int(key[:16], 16) for key in keys]
        at_N = np.searchsorted(self._key_N, np.array(numbers, np.uint64))
        wanted = []
        for key, number, at in zip(keys, numbers, at_N.tolist(), strict=True):
            if number in self._new:
                wanted.append((self._new[number], key))
            elif at < len(self._key_N) and int(self._key_N[at]) == number:
                wanted.append((int(self._place_N[at]), key))
        wanted.sort()
        rows = zip(wanted, self._lines.at([place for place, _ in wanted]), strict=True)
        return {key: row for (_, key), row in rows if row is not None and row[0] == key}

    def add(self, rows: Iterable[list[Any]]) -> None:
        """Write rows, each of which begins with its key."""
        added = list(rows)
        places = self._lines.add(added)
        self._new.update((int(row[0][:16], 16), place) for row, place in zip(added, places, strict=True))
        if len(self._new) > MERGE_FROM:
            keys, places_N = np.array(list(self._new), np.uint64), np.array(list(self._new.values()), np.int64)
            merged = np.concatenate([self._key_N, keys]), np.concatenate([self._place_N, places_N])
            self._key_N, self._place_N = _in_order(*merged)
            self._new = {}


@contextmanager
def holding_back(
    add: Callable[[Iterable[list[Any]]], Any], max_held: float = 1.0
) -> Iterator[Callable[[Iterable[tuple[list[Any], bool]]], None]]:
    """Write rows, each with whether it can be used: at once those that can, the others at the end of the block.

    Where these are more than a share max_held of all, however the block ends, or the judge is given up for its
    nonsense, they are never written. add: writes rows.
    """
    held: list[list[Any]] = []
    total = 0

    def write(rows: Iterable[tuple[list[Any], bool]]) -> None:
        nonlocal total
        now: list[list[Any]] = []
        for row, is_usable in rows:
            (now if is_usable else held).append(row)
            total += 1
        add(now)

    try:
        yield write
    except NonsenseError:
        held.clear()
        raise
    finally:
        if len(held) <= max_held * total:
            add(held)


def _in_order(key_N: Numbers, place_N: Ints) -> tuple[Numbers, Ints]:
    """Different keys, ascending, each with the last of its places."""
    order_N = np.lexsort((place_N, key_N))
    key_N, place_N = key_N[order_N], place_N[order_N]
    is_last_N = np.append(key_N[1:] != key_N[:-1], True)[: len(key_N)]
    return key_N[is_last_N], place_N[is_last_N]


def _parsed(line: bytes) -> list[Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, list) and found else None
