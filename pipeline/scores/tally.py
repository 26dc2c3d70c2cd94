"""How many different questions a judge was asked, and the tokens of these, at 16 bytes for each."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.judges.protocol import Answer

DTYPE = np.dtype([("key", np.uint64), ("tokens_in", np.uint32), ("tokens_out", np.uint32)])
MERGE_FROM = 1 << 16
"""Rows that are held beside those of different questions, before copies among them are dropped."""


class Totals(NamedTuple):
    """Of different questions."""

    questions: int
    tokens_in: int
    tokens_out: int


class Tally:
    """Counts questions, equal ones once."""

    def __init__(self) -> None:
        self._counted = np.empty(0, DTYPE)
        self._new: list[np.ndarray] = []
        self._num_new = 0

    def add(self, keys: Sequence[str], answers: Sequence[Answer]) -> None:
        """Count questions by their hashes (of hexadecimal digits), with their answers."""
        rows = [(int(key[:16], 16), a.tokens_in, a.tokens_out) for key, a in zip(keys, answers, strict=True)]
        self._new.append(np.array(rows, DTYPE))
        self._num_new += len(rows)
        if self._num_new > MERGE_FROM + len(self._counted):
            self._merge()

    def totals(self) -> Totals:
        """The counts until now."""
        self._merge()
        tokens_in, tokens_out = (int(self._counted[name].sum(dtype=np.int64)) for name in ("tokens_in", "tokens_out"))
        return Totals(len(self._counted), tokens_in, tokens_out)

    def _merge(self) -> None:
        rows = np.concatenate([self._counted, *self._new])
        self._counted = rows[np.unique(rows["key"], return_index=True)[1]]
        self._new, self._num_new = [], 0
