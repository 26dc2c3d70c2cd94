"""What conditions ask of a word (one of some, a class, a stem, an affix), as tables over all words.

Shapes: V words by folded number, R words of letters in order, N words that are asked about.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Ints
from pipeline.labels.background import affixes_of
from pipeline.labels.classes import CLASSES
from pipeline.labels.traits import Flags
from pipeline.labels.words import NONE, Words

Numbers = npt.NDArray[np.integer[Any]]


class _Ordered(NamedTuple):
    """Words of letters in the order of their texts."""

    texts: list[str]
    fold_R: Ints
    rank_V: Ints
    """The place of each word in that order, -1 of others."""

    def bounds(self, stem: str) -> tuple[int, int]:
        """The places of the first word that begins so and of the first after all these."""
        return bisect_left(self.texts, stem), bisect_left(self.texts, stem + chr(0x10FFFF))


class Lexicon:
    """The words that were met until it is first asked."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._class_folds: dict[str, Ints] = {}
        self._class_V: dict[str, Flags] = {}

    def folds(self, kind: str, names: Sequence[str]) -> Ints:
        """Folded numbers of the words that a condition names, each once."""
        if kind == "word":
            return np.array(self._numbers(names), np.int64)
        of_kind = {"class": self._members, "stem": self._family, "affix": self._having}[kind]
        return of_kind(names[0]) if len(names) == 1 else np.unique(np.concatenate([*map(of_kind, names)]))

    def holds(self, kind: str, names: Sequence[str], fold_N: Numbers) -> Flags:
        """Whether a condition of another kind than `word` holds of words, by their folded numbers; not of NONE [N]."""
        of_kind = {"class": self._are_members, "stem": self._are_family, "affix": self._have}[kind]
        holds_N = of_kind(names[0], fold_N)
        for name in names[1:]:
            holds_N |= of_kind(name, fold_N)
        return holds_N

    def _numbers(self, names: Sequence[str]) -> list[int]:
        numbers = dict.fromkeys(map(self._words.folded_number, names))
        numbers.pop(NONE, None)
        return list(numbers)

    def _members(self, name: str) -> Ints:
        """Words of a class."""
        if name not in self._class_folds:
            self._class_folds[name] = np.array(self._numbers(sorted(CLASSES[name])), np.int64)
        return self._class_folds[name]

    def _are_members(self, name: str, fold_N: Numbers) -> Flags:
        if name not in self._class_V:
            in_V = np.zeros(len(self._texts), bool)
            members = self._members(name)
            in_V[members[members < len(in_V)]] = True  # others are in no text
            self._class_V[name] = in_V
        in_N: Flags = self._class_V[name][fold_N]
        return in_N

    def _family(self, stem: str) -> Ints:
        """Words of letters that begin so."""
        return self._ordered.fold_R[slice(*self._ordered.bounds(stem))]

    def _are_family(self, stem: str, fold_N: Numbers) -> Flags:
        (first, last), rank_N = self._ordered.bounds(stem), self._ordered.rank_V[fold_N]
        begin_N: Flags = (rank_N >= first) & (rank_N < last)
        return begin_N

    def _having(self, affix: str) -> Ints:
        """Words of letters that begin, or end, so."""
        numbers, affix_V = self._affixes
        return np.flatnonzero(affix_V[_slot(affix)] == numbers.get(affix, -1))

    def _have(self, affix: str, fold_N: Numbers) -> Flags:
        numbers, affix_V = self._affixes
        have_N: Flags = affix_V[_slot(affix)][fold_N] == numbers.get(affix, -1)
        return have_N

    @cached_property
    def _texts(self) -> list[str]:
        return list(self._words.folded_texts)

    @cached_property
    def _ordered(self) -> "_Ordered":
        ordered = sorted((text, fold) for fold, text in enumerate(self._texts) if text.isalpha())
        fold_R = np.array([fold for _, fold in ordered], np.int64)
        rank_V = np.full(len(self._texts), -1)
        rank_V[fold_R] = np.arange(len(ordered))
        return _Ordered([text for text, _ in ordered], fold_R, rank_V)

    @cached_property
    def _affixes(self) -> tuple[dict[str, int], list[Ints]]:
        """Affixes by number, and those of each word by place: beginnings and ends of two to four letters."""
        numbers: dict[str, int] = {}
        slots = [[0] * len(self._texts) for _ in range(6)]
        for fold, text in enumerate(self._texts):
            for affix in affixes_of(text):
                slots[_slot(affix)][fold] = numbers.setdefault(affix, len(numbers) + 1)
        return numbers, [np.array(slot, np.int32) for slot in slots]


def among_few(number_N: Numbers, numbers: Sequence[int]) -> Flags:
    """Whether each of many numbers is one of a few [N]."""
    if not numbers:
        return np.zeros(len(number_N), bool)
    found_N: Flags = number_N == numbers[0]
    for number in numbers[1:]:
        found_N |= number_N == number
    return found_N


def _slot(affix: str) -> int:
    """The place of an affix among those of a word: of which end, and how long."""
    return 2 * (len(affix) - 3) + affix.startswith("-")
