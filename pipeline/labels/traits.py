"""Traits of words and places: what kind of word it is, and where it stands. Shapes: any [...], W windows, L tokens."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Ints
from pipeline.labels.words import NONE, Words

Flags = npt.NDArray[np.bool_]
WORD_KINDS = ("year", "number", "name", "acronym")
KINDS = (*WORD_KINDS, "text start", "line start", "sentence start")
"""Traits that a word has by itself and by the word before it."""
ENCLOSED = ("in brackets", "in quotation marks")
TRAITS = (*KINDS, *ENCLOSED)
SENTENCE_ENDS = {".", "!", "?"}
LINE_ENDS = {"line break", "blank line"}


class KindTables:
    """The kinds of every word met so far, by surface number."""

    def __init__(self, words: Words) -> None:
        texts = words.texts
        self._year = np.array([len(t) == 4 and t.isdecimal() and t[0] in "12" for t in texts], bool)
        self._number = np.array([t[:1].isdecimal() for t in texts], bool)
        self._capital = np.array([t[:1].isupper() for t in texts], bool)
        self._acronym = np.array([len(t) > 1 and t.isupper() and t.isalpha() for t in texts], bool)
        self._ends_line = np.array([t in LINE_ENDS for t in texts], bool)
        self._ends_sentence = np.array([t in LINE_ENDS or t[-1:] in SENTENCE_ENDS for t in texts], bool)

    def kinds(self, here: Ints, before: Ints) -> dict[str, Flags]:
        """Whether words [...] are of each of KINDS, by their surface numbers and those of the words before them."""
        is_word = here != NONE
        text = (before == NONE) & is_word
        line = self._ends_line[before] & is_word
        sentence = (self._ends_sentence[before] & is_word) | line | text
        return {
            "year": self._year[here],
            "number": self._number[here],
            "name": self._capital[here] & ~sentence,
            "acronym": self._acronym[here],
            "text start": text,
            "line start": line,
            "sentence start": sentence,
        }


def enclosed_at(words: Words, ids_WL: Ints, column_W: Ints) -> dict[str, Flags]:
    """Whether a column of each window stands inside an open bracket or quotation [W]."""
    columns = np.arange(ids_WL.shape[1])
    earlier_WL = columns < column_W[:, None]
    found = {}
    for name, marks_V in words.marks_V.items():
        marks_WL = np.where(earlier_WL, marks_V[ids_WL], 0)
        opened_W, closed_W = (np.where(marks_WL == mark, columns, -1).max(axis=1) for mark in (1, -1))
        found[name] = opened_W > closed_W
    return found


def enclosed(words: Words, ids_WL: Ints) -> dict[str, npt.NDArray[Any]]:
    """The same for every column, by what stands before it [W, L]."""
    columns = np.broadcast_to(np.arange(ids_WL.shape[1]), ids_WL.shape)
    found = {}
    for name, marks_V in words.marks_V.items():
        last = []
        for mark in (1, -1):
            place_WL = np.where(marks_V[ids_WL] == mark, columns, -1)
            place_WL = np.maximum.accumulate(place_WL, axis=1)
            last.append(np.concatenate([np.full((len(ids_WL), 1), -1), place_WL[:, :-1]], axis=1))
        found[name] = last[0] > last[1]
    return found
