"""Concepts found in tokens: exactly, by the tokens that each way to write them has, on whole words.

A tokenizer that cuts text into words first gives a word the same tokens wherever it stands, so that text need not be
made of the tokens again. Time grows with the tokens, not with the concepts; where these are indexed (indexing.py), with
those that end a way to write a concept.

Shapes: N tokens, V vocabulary, H occurrences, M windows.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from data.concepts.indexing import TokenIndex

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]
FACTOR = np.uint64(0x9E3779B97F4A7C15)
AROUND = 16
"""Tokens either side of an example's that are looked at: a name and what it may be part of."""
STOPS_AT_ONCE = 1 << 20
"""Places that are looked at together."""


class Occurrences(NamedTuple):
    """Where concepts stand, in the order of the text."""

    concept_H: Ints
    start_H: Ints
    """Place of the first token."""
    stop_H: Ints
    """After the last."""


NOWHERE = Occurrences(*(np.zeros(0, np.int64) for _ in range(3)))


class Matcher:
    """Finds concepts in tokens. `outside` is a token that stands between texts."""

    def __init__(self, written: Sequence[Sequence[Sequence[int]]], pieces: Sequence[bytes]) -> None:
        """written: the token ids of every way to write each concept; pieces: the bytes of every token [V]."""
        self.outside = len(pieces)
        self._begins_V, self._ends_V = _edges(pieces)
        phrases: dict[tuple[int, ...], list[int]] = {}
        for concept, ways in enumerate(written):
            for way in {tuple(way) for way in ways if way}:
                phrases.setdefault(way, []).append(concept)
        by_length: dict[int, list[tuple[int, ...]]] = {}
        for phrase in phrases:
            by_length.setdefault(len(phrase), []).append(phrase)
        self._lengths = [_Length(length, some, phrases, self.outside) for length, some in sorted(by_length.items())]

    def find(self, token_N: npt.NDArray[Any]) -> Occurrences:
        """Occurrences on whole words, but for those inside a longer one: Guinea in Equatorial Guinea is not Guinea."""
        token_N = np.concatenate([token_N, [self.outside]])
        return self._find(token_N, ((length, length.stops(token_N)) for length in self._lengths))

    def find_in(self, index: TokenIndex) -> Occurrences:
        """The same in texts that are indexed: only where the last token of a way to write a concept stands is read.

        The index must have as many tokens as the pieces.
        """
        assert index.outside == self.outside, f"an index of {index.outside:,} tokens, {self.outside:,} pieces"
        stops = ((length, index.places(length.last_tokens) + 1) for length in self._lengths)
        return self._find(index.token_N, stops)

    def _find(self, token_N: npt.NDArray[Any], stops: "Iterable[tuple[_Length, Ints]]") -> Occurrences:
        """token_N: `outside` at the end. stops: of the ways of each length, the places behind their last tokens."""
        parts = [
            part
            for length, stop_H in stops
            for start in range(0, len(stop_H), STOPS_AT_ONCE)
            for part in length.find(token_N, stop_H[start : start + STOPS_AT_ONCE], self._on_words)
        ]
        if not parts:
            return NOWHERE
        concept_H, start_H, stop_H = (np.concatenate(column) for column in zip(*parts, strict=True))
        order_H = np.lexsort((concept_H, -stop_H, start_H))
        found = Occurrences(concept_H[order_H], start_H[order_H], stop_H[order_H])
        kept_H = ~_inside_longer(found.start_H, found.stop_H)
        return Occurrences._make(column[kept_H] for column in found)

    def speaks_of(self, windows: Sequence[Sequence[int]], place_M: Sequence[int], concept_M: Ints) -> Mask:
        """Whether the token at a place of each window is part of an occurrence of a concept [M]."""
        if not len(windows):
            return np.zeros(0, bool)
        first_M = np.cumsum([0, *(len(window) + 1 for window in windows[:-1])])
        token_N = np.full(int(first_M[-1]) + len(windows[-1]), self.outside)
        for first, window in zip(first_M.tolist(), windows, strict=True):
            token_N[first : first + len(window)] = window
        found, token_M = self.find(token_N), first_M + np.asarray(place_M)
        spoken: set[tuple[int, int]] = set()
        for concept, start, stop in zip(*(column.tolist() for column in found), strict=True):
            spoken.update((concept, token) for token in range(start, stop))
        return np.array([pair in spoken for pair in zip(concept_M.tolist(), token_M.tolist(), strict=True)], bool)

    def _on_words(self, token_N: npt.NDArray[Any], start_H: Ints, stop_H: Ints) -> Mask:
        """Whether neither end lies within a word [H]. Before the first token stands the last, which is `outside`."""
        joins_left_H = self._ends_V[token_N[start_H - 1]] & self._begins_V[token_N[start_H]]
        joins_right_H = self._ends_V[token_N[stop_H - 1]] & self._begins_V[token_N[stop_H]]
        return cast(Mask, ~(joins_left_H | joins_right_H))


class _Length:
    """The ways to write concepts that have one number of tokens."""

    def __init__(
        self, length: int, some: list[tuple[int, ...]], phrases: dict[tuple[int, ...], list[int]], size: int
    ) -> None:
        self._length = length
        pairs = [(phrase, concept) for phrase in some for concept in phrases[phrase]]
        hash_P = _hashes(np.array([phrase for phrase, _ in pairs], np.int64))
        order_P = np.argsort(hash_P, kind="stable")
        self._hash_P, self._concept_P = hash_P[order_P], np.array([concept for _, concept in pairs])[order_P]
        self.last_tokens = np.unique([phrase[-1] for phrase in some])
        self._last_V = np.zeros(size + 1, bool)
        self._last_V[self.last_tokens] = True

    def stops(self, token_N: npt.NDArray[Any]) -> Ints:
        """The places behind all tokens that are the last of a way."""
        return np.flatnonzero(self._last_V[token_N]) + 1

    def find(self, token_N: npt.NDArray[Any], stop_H: Ints, on_words: Any) -> list[tuple[Ints, Ints, Ints]]:
        """Concept, start and stop of the occurrences, in parts of which no two are of the same place and concept."""
        stop_H = stop_H[stop_H >= self._length]
        start_H = stop_H - self._length
        hash_H = _hashes(token_N[start_H[:, None] + np.arange(self._length)])
        low_H, high_H = (np.searchsorted(self._hash_P, hash_H, side) for side in ("left", "right"))
        found_H = np.flatnonzero(high_H > low_H)
        found_H = found_H[on_words(token_N, start_H[found_H], stop_H[found_H])]
        parts = []
        while len(found_H):
            parts.append((self._concept_P[low_H[found_H]], start_H[found_H], stop_H[found_H]))
            low_H = low_H + 1
            found_H = found_H[high_H[found_H] > low_H[found_H]]
        return parts


def _hashes(token_HL: npt.NDArray[Any]) -> Hashes:
    """64 bits of each row of tokens."""
    hash_H = np.zeros(len(token_HL), np.uint64)
    for token_H in token_HL.T.astype(np.uint64):
        hash_H = (hash_H ^ (token_H + np.uint64(1))) * FACTOR
        hash_H ^= hash_H >> np.uint64(29)
    return hash_H


def _inside_longer(start_H: Ints, stop_H: Ints) -> Mask:
    """Whether each occurrence lies inside a longer one; sorted by start, then the longest first [H]."""
    again_H = (np.diff(start_H, prepend=-1) == 0) & (np.diff(stop_H, prepend=-1) == 0)
    first_H = np.maximum.accumulate(np.where(again_H, 0, np.arange(len(start_H))))
    before_H = np.concatenate([[-1], np.maximum.accumulate(stop_H)[:-1]])
    return (before_H >= stop_H)[first_H]


def _edges(pieces: Sequence[bytes]) -> tuple[Mask, Mask]:
    """Whether each token begins, and ends, with a letter or digit, or a part of one [V + 1]."""
    texts = [piece.decode("utf-8", "replace") for piece in (*pieces, b"")]
    begins = np.array([text[:1].isalnum() or text[:1] == "\ufffd" for text in texts])
    ends = np.array([text[-1:].isalnum() or text[-1:] == "\ufffd" for text in texts])
    return begins, ends


def plurals(text: str) -> list[str]:
    """The text and its plurals, as far as they follow a rule."""
    if not text[-1:].isalpha():
        return [text]
    if text[-1] == "y" and text[-2:-1] not in "aeiou":
        return [text, f"{text[:-1]}ies", f"{text}s"]
    return [text, f"{text}es"] if text.endswith(("s", "x", "z", "ch", "sh")) else [text, f"{text}s", f"{text}es"]


def ways_to_write(spelling: str) -> list[str]:
    """A spelling and its plurals, with a capital at the beginning too, each after a space and without."""
    forms = [form for plural in plurals(spelling) for form in (plural, plural[:1].upper() + plural[1:])]
    return [before + form for form in dict.fromkeys(forms) for before in (" ", "")]
