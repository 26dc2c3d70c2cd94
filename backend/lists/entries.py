"""The content of a list (features, name, notes), validated and normalised before it is stored."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from backend.exceptions import RefusedError
from backend.storage import clean_text

MAX_ENTRIES = 10_000
MAX_NAME = 200
MAX_LIST_NOTE = 10_000
MAX_NOTE = 2_000
"""Characters of an entry's note."""
MAX_NOTES_TOTAL = 1_000_000
"""Characters of all notes of a list together, so that every list can be read back from a file."""
UNNAMED = "Untitled list"

_PART = r"[a-z0-9][a-z0-9._-]{0,63}"
_FEATURE = re.compile(rf"({_PART})/({_PART})/([0-9]{{1,9}})")


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One feature of a list with its note."""

    model: str
    sae: str
    index: int
    note: str = ""

    @property
    def feature(self) -> str:
        """model/sae/index"""
        return f"{self.model}/{self.sae}/{self.index}"

    @classmethod
    def parse(cls, name: str, note: str = "") -> Self:
        """An entry from model/sae/index, also as the end of a whole address. Raises RefusedError."""
        path = name.strip().partition("?")[0].partition("#")[0].removesuffix("/")
        found = _FEATURE.fullmatch("/".join(path.split("/")[-3:]))
        if found is None:
            raise RefusedError(
                f"'{name[:200]}' is not the name of a feature: give model/sae/index, or the address of its page."
            )
        return cls(found[1], found[2], int(found[3]), clean_text(note, MAX_NOTE, "a note"))


@dataclass(frozen=True, slots=True)
class Draft:
    """A validated list that can be stored."""

    name: str
    note: str
    entries: Sequence[ListEntry]


def make_draft(name: str, note: str, entries: Iterable[ListEntry]) -> Draft:
    """A list of checked texts, every feature once (the first is kept). Raises RefusedError."""
    once = each_once(entries)
    if len(once) > MAX_ENTRIES:
        raise RefusedError(f"A list holds {MAX_ENTRIES:,} features at most; these are {len(once):,}.")
    if (length := sum(len(entry.note) for entry in once)) > MAX_NOTES_TOTAL:
        raise RefusedError(f"The notes of a list have {MAX_NOTES_TOTAL:,} characters at most; these are {length:,}.")
    return Draft(clean_name(name), clean_text(note, MAX_LIST_NOTE, "the note of a list"), once)


def each_once(entries: Iterable[ListEntry]) -> tuple[ListEntry, ...]:
    """Every feature once, in order; the first of several entries is kept."""
    once: dict[str, ListEntry] = {}
    for entry in entries:
        once.setdefault(entry.feature, entry)
    return tuple(once.values())


def clean_name(name: str) -> str:
    """A name on one line. Raises RefusedError."""
    return " ".join(clean_text(name, MAX_NAME, "the name of a list").split()) or UNNAMED
