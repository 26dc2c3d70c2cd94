"""Examples as text: the words around their strongest tokens, and the words that hold them.

Shapes: F features of a batch, M examples.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.corpus import TokenizedCorpus
from data.published.terms import SHORT_PART, Word, compounds, words

T = TypeVar("T")

TOKENS_AROUND = 6
"""Kept on either side of the strongest token."""
MAX_SIDE = 60
"""Characters on either side."""
PEAKS_CACHED = 1 << 17
"""Features of all SAEs share many of their strongest tokens."""


class Peak(NamedTuple):
    """The word that holds a token, and those on either side, as the search compares them; "" where there is none."""

    word: str
    before: str
    after: str


class ExampleTexts:
    """Reads the surroundings of tokens as text."""

    def __init__(self, corpus: TokenizedCorpus, vocabulary: Sequence[bytes]) -> None:
        self._tokens, self._vocabulary = corpus.tokens.view(np.ndarray), vocabulary
        self._starts = corpus.offsets
        self._stops = self._starts + np.asarray(corpus.documents["num_tokens"], np.int64)
        self.peak = lru_cache(PEAKS_CACHED)(self._peak)

    def around(self, document: int, position: int) -> str:
        """The text around a token of a document; a word that is cut at either end is left out."""
        return "".join(self._parts(document, position))

    def _peak(self, document: int, position: int) -> Peak:
        """The word at a token of a document; of several, the last, but the first of a script without spaces.

        What says little by itself is named by its compound: the last token of C++ or x86-64 by the whole.
        """
        before, centre, after = self._parts(document, position)
        text, start, stop = before + centre + after, len(before), len(before) + len(centre)
        found = list(words(text))
        inside = [number for number, word in enumerate(found) if word.start < stop and word.stop > start]
        if not inside:
            return Peak("", "", "")
        first, last = inside[0], inside[-1]
        at = first if found[first].reach > found[first].stop else last
        whole = _compound_at(text, found, at)
        forms = ["", *(word.form for word in found), ""]
        return Peak(whole or forms[at + 1], forms[at], forms[last + 2])

    def _parts(self, document: int, position: int) -> tuple[str, str, str]:
        """The text before a token, its own, and the text after it."""
        start, stop = int(self._starts[document]), int(self._stops[document])
        at = start + position
        low, high = max(start, at - TOKENS_AROUND), min(stop, at + TOKENS_AROUND + 1)
        pieces = [self._vocabulary[token] for token in self._tokens[low:high].tolist()]
        before, centre, after = (
            _text(part) for part in (pieces[: at - low], pieces[at - low : at - low + 1], pieces[at - low + 1 :])
        )
        before, after = before[-MAX_SIDE:], after[:MAX_SIDE]
        if low > start:
            before = before.partition(" ")[2] or before
        if high < stop:
            after = after.rpartition(" ")[0] or after
        return before, centre, after


def _compound_at(text: str, found: Sequence[Word], at: int) -> str:
    """The compound that holds a word of a text; "" where the word says enough by itself."""
    word = found[at]
    if not word.sign and len(word.form) >= SHORT_PART:
        return ""
    return next((one.form for one in compounds(text, found) if one.start <= word.start < one.stop), "")


def of_features(
    examples: pa.Table, first_F: npt.NDArray[np.int64], num_F: npt.NDArray[np.int64], read: Callable[[int, int], T]
) -> list[list[T]]:
    """What `read` says of document and position of every feature's examples `first` to `first + num` in a table."""
    document_M, position_M = (examples[name].to_numpy().astype(np.int64) for name in ("document", "position"))
    return [
        [read(int(document_M[m]), int(position_M[m])) for m in range(first, first + num)]
        for first, num in zip(first_F.tolist(), num_F.tolist(), strict=True)
    ]


def _text(pieces: Sequence[bytes]) -> str:
    """Bytes that are part of a character are left out."""
    return b"".join(pieces).decode(errors="ignore")
