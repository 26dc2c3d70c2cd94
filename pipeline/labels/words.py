"""Words in windows of tokens: pieces joined with the word that they belong to, and every word known by a number.

Two numbers for each word: `surface` tells University from university, `folded` does not. A number looks up its text;
word 0 is none (outside a window). Punctuation marks are words of their own; a space belongs to the word after it, and
line breaks in a row are one word. In scripts without spaces (Chinese, Japanese, Thai, Lao, Burmese, Khmer) a token is a
word, or the tokens are that make one character. Joiners and combining marks belong to the word before them.

Shapes: W windows, L tokens of a window, V vocabulary.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.published.terms import JOINERS, is_unspaced
from pipeline.arrays import Ints, hash_tokens

NONE = 0
SEPARATE, LETTER, BREAK, JOINING = range(4)
"""Kinds of a token's beginning and end: tokens join where two letters or two breaks meet, and what begins with a joiner
or a combining mark with what stands before it."""
SPACE_NAMES = frozenset({"space", "spaces", "tab", "tabs", "line break", "blank line"})


class WordWindows(NamedTuple):
    """The words of some windows, [W, L]."""

    surface_WL: Ints
    """Number of the word that each token belongs to."""
    folded_WL: Ints
    first_WL: Ints
    """Column of the word's first token."""
    next_WL: Ints
    """Column of the next word's first token; L when there is none."""


class Words:
    """All words met so far."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._bytes = [*token_bytes, b""]
        self.outside = len(token_bytes)
        """Stands in a window where there is no token."""
        ends = np.array([_ends_of(piece) for piece in self._bytes], np.int8)
        self._first_V, self._last_V = ends[:, 0], ends[:, 1]
        self.marks_V = {
            "in brackets": np.array([_bracket(piece) for piece in self._bytes], np.int8),
            "in quotation marks": np.array([_quotation(piece) for piece in self._bytes], np.int8),
        }
        """Marks of each token: 1 where it opens a bracket or quotation, -1 where it closes one."""
        self._number: dict[int, int] = {}
        self._folded_number: dict[str, int] = {"": NONE}
        self.texts: list[str] = [""]
        self.folded: list[int] = [NONE]
        self.folded_texts: list[str] = [""]
        self._folded: Ints = np.zeros(0, np.int64)

    def windows(self, ids_WL: Ints) -> WordWindows:
        """Find the words of windows of token ids, `outside` where a window has none."""
        starts_WL = np.ones(ids_WL.shape, bool)
        left_WL, right_WL = self._last_V[ids_WL[:, :-1]], self._first_V[ids_WL[:, 1:]]
        joined_WL = (right_WL == JOINING) & (left_WL != BREAK) & (ids_WL[:, :-1] != self.outside)
        starts_WL[:, 1:] = ((left_WL != right_WL) | (left_WL == SEPARATE)) & ~joined_WL
        surface_WL = self._numbers(ids_WL.reshape(-1), starts_WL.reshape(-1)).reshape(ids_WL.shape)
        L = ids_WL.shape[1]
        columns = np.arange(L)
        first_WL = np.maximum.accumulate(np.where(starts_WL, columns, 0), axis=1)
        next_WL = np.full(ids_WL.shape, L)
        later_WL = np.where(starts_WL, columns, L)[:, 1:]
        next_WL[:, :-1] = np.minimum.accumulate(later_WL[:, ::-1], axis=1)[:, ::-1]
        return WordWindows(surface_WL, self.folded_of(surface_WL), first_WL, next_WL)

    def folded_of(self, surfaces: Ints) -> Ints:
        """The folded numbers of words by their surface numbers."""
        if len(self._folded) < len(self.folded):
            self._folded = np.array(self.folded)
        found: Ints = self._folded[surfaces]
        return found

    def piece(self, token: int) -> str:
        """The printable text of one token."""
        return printable(self._bytes[token])

    def folded_number(self, text: str) -> int:
        """The folded number of a word; NONE when it has not been met."""
        return self._folded_number.get(text.casefold(), NONE)

    def _numbers(self, ids_N: Ints, starts_N: npt.NDArray[np.bool_]) -> Ints:
        """The number of the word of each token, for tokens one after the other; `starts_N`: where words begin [N]."""
        if len(ids_N) == 0:
            return np.zeros(0, np.int64)
        first_K = np.flatnonzero(starts_N)
        word_N = np.cumsum(starts_N) - 1
        place_N = np.arange(len(ids_N)) - first_K[word_N]
        hash_K = np.add.reduceat(hash_tokens((ids_N << 8) | np.minimum(place_N, 255)), first_K)
        coded = pc.dictionary_encode(pa.array(hash_K))  # by hashing: a sort takes ten times as long
        keys, code_K = coded.dictionary.to_pylist(), coded.indices.to_numpy()
        example = np.empty(len(keys), np.int64)
        example[code_K[::-1]] = np.arange(len(code_K))[::-1]
        stop_K = np.append(first_K[1:], len(ids_N))
        new = (pair for pair in zip(keys, example.tolist(), strict=True) if pair[0] not in self._number)
        for key, k in sorted(new):
            tokens = ids_N[first_K[k] : stop_K[k]].tolist()
            self._number[key] = self._add(b"".join(self._bytes[token] for token in tokens))
        found: Ints = np.array([self._number[key] for key in keys], np.int64)[code_K][word_N]
        return found

    def _add(self, raw: bytes) -> int:
        text = printable(raw) if raw else ""
        fold = text.casefold()
        if fold not in self._folded_number:
            self._folded_number[fold] = len(self.folded_texts)
            self.folded_texts.append(fold)
        if not text:
            return NONE
        self.texts.append(text)
        self.folded.append(self._folded_number[fold])
        return len(self.texts) - 1


@lru_cache(1 << 14)
def printable(raw: bytes) -> str:
    """Text without white space around it and without control characters; what would not be seen is named."""
    text = raw.decode("utf-8", "replace")
    if not text.strip():
        return _name_of_space(text)
    if set(text) <= {"\ufffd", " "}:
        return f"byte {raw.strip().hex()}"
    text = text.strip("\ufffd ")  # parts of characters at the ends of a word
    kept = (" " if c.isspace() else c for c in text if c.isspace() or c in JOINERS or unicodedata.category(c)[0] != "C")
    found = " ".join("".join(kept).split()).strip(JOINERS)
    return found or unicodedata.name(text[:1], "control character").lower()


def _name_of_space(text: str) -> str:
    """One of SPACE_NAMES."""
    if "\n" in text:
        return "blank line" if text.count("\n") > 1 else "line break"
    return ("tab" if "\t" in text else "space") + ("s" if len(text) > 1 else "")


def _ends_of(piece: bytes) -> tuple[int, int]:
    """Kinds of a token's start and end: SEPARATE, LETTER or BREAK. Spaces alone are open for the word after them."""
    text = piece.decode("utf-8", "replace")
    if not text:
        return SEPARATE, SEPARATE
    if not text.strip() and "\n" not in text:
        return SEPARATE, LETTER
    base = text.rstrip("".join(filter(_is_joining, text)))[-1:] or text[-1]
    first = SEPARATE if _begins_unspaced(piece) else JOINING if _is_joining(text[0]) else _class_of(text[0])
    return first, LETTER if text[-1] in JOINERS else _class_of(base)


def _class_of(character: str) -> int:
    """Part of a character counts as a letter; a character of a script without spaces stands apart."""
    if character == "\n":
        return BREAK
    if is_unspaced(character):
        return SEPARATE
    return LETTER if character == "\ufffd" or unicodedata.category(character)[0] in "LNM" else SEPARATE


def _is_joining(character: str) -> bool:
    return character in JOINERS or unicodedata.category(character)[0] == "M"


def _begins_unspaced(piece: bytes) -> bool:
    """Whether the first bytes of a character tell that it is of a script without spaces."""
    if piece[0] < 0xE0 or piece[0] > 0xEF or len(piece) > 2 or (len(piece) == 1 and not 0xE4 <= piece[0] <= 0xE9):
        return False
    character = piece.ljust(3, b"\x80").decode("utf-8", "replace")[0]
    return character != "\ufffd" and is_unspaced(character)


def _bracket(piece: bytes) -> int:
    return 1 if piece.endswith((b"(", b"[")) else -1 if piece.strip().startswith((b")", b"]")) or b"\n" in piece else 0


def _quotation(piece: bytes) -> int:
    """A straight quotation mark opens after a space and closes otherwise."""
    text = piece.decode("utf-8", "replace")
    if text.endswith("“") or (text.endswith('"') and text[0] in " (["):
        return 1
    return -1 if "”" in text or '"' in text or "\n" in text else 0
