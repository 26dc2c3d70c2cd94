"""Examples as text: the words around their strongest tokens, and the words that hold them.

Shapes: F features of a batch, M examples.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.corpus import TokenizedCorpus
from pipeline.examples.peaks import Peak, find_peak

T = TypeVar("T")

TOKENS_AROUND = 6
"""Kept on either side of the strongest token."""
MAX_SIDE = 60
"""Characters on either side."""
READ_CACHED = 1 << 17
"""Features of all SAEs share many of their strongest tokens."""


class ExampleTexts:
    """Reads the surroundings of tokens as text."""

    def __init__(self, corpus: TokenizedCorpus, vocabulary: Sequence[bytes]) -> None:
        self._tokens, self._vocabulary = corpus.tokens.view(np.ndarray), vocabulary
        self._starts = corpus.offsets
        self._stops = self._starts + np.asarray(corpus.documents["num_tokens"], np.int64)
        self._read = lru_cache(READ_CACHED)(self._read_anew)

    def around(self, document: int, position: int) -> str:
        """The text around a token of a document; a word that is cut at either end is left out."""
        return self._read(document, position)[0]

    def peak(self, document: int, position: int) -> Peak:
        """The word at a token of a document, see `find_peak`."""
        return self._read(document, position)[1]

    def _read_anew(self, document: int, position: int) -> tuple[str, Peak]:
        before, centre, after = self._parts(document, position)
        text = before + centre + after
        return text, find_peak(text, len(before), len(before) + len(centre))

    def _parts(self, document: int, position: int) -> tuple[str, str, str]:
        """The text before a token, its own, and the text after it."""
        start, stop = int(self._starts[document]), int(self._stops[document])
        at = start + position
        low, high = max(start, at - TOKENS_AROUND), min(stop, at + TOKENS_AROUND + 1)
        pieces = [self._vocabulary[token] for token in self._tokens[low:high].tolist()]
        before, after = _text(pieces[: at - low])[-MAX_SIDE:], _text(pieces[at - low + 1 :])[:MAX_SIDE]
        if low > start:
            before = before.partition(" ")[2] or before
        if high < stop:
            after = after.rpartition(" ")[0] or after
        return before, _text(pieces[at - low : at - low + 1]), after


def of_features(
    examples: pa.Table, first_F: npt.NDArray[np.int64], num_F: npt.NDArray[np.int64], read: Callable[[int, int], T]
) -> list[list[T]]:
    """What `read` says of document and position of every feature's examples `first` to `first + num` in a table."""
    document_M, position_M = (examples[name].to_numpy() for name in ("document", "position"))
    return [
        list(map(read, document_M[first : first + num].tolist(), position_M[first : first + num].tolist()))
        for first, num in zip(first_F.tolist(), num_F.tolist(), strict=True)
    ]


def _text(pieces: Sequence[bytes]) -> str:
    """Bytes that are part of a character are left out."""
    return b"".join(pieces).decode(errors="ignore")
