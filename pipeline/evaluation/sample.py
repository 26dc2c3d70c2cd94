"""The random sample of held-out documents that cross-entropy is measured on.

Shapes: M documents, S sequences.
"""

import numpy as np
import numpy.typing as npt

from data.artifacts.corpus import SEQUENCE

Sequences = npt.NDArray[np.void]
"""Of dtype SEQUENCE."""


def whole_documents(rows_M: npt.NDArray[np.int64], lengths_M: npt.NDArray[np.int64], longest: int) -> Sequences:
    """The sequences [S] of all documents with these rows and numbers of tokens; `longest`: tokens, without BOS."""
    pairs = zip(rows_M.tolist(), lengths_M.tolist(), strict=True)
    return _join([_cut(row, 0, length, longest) for row, length in pairs])


def draw_documents(
    rows_M: npt.NDArray[np.int64], lengths_M: npt.NDArray[np.int64], longest: int, max_tokens: int, seed: int
) -> Sequences:
    """The sequences [S] of a random sample of documents, at most `max_tokens` tokens in all.

    Documents come in random order and are taken whole until the budget is reached. The one that is longer than the rest
    of the budget gives as many tokens in a row as are left, from a random place (every place is as likely); the model
    reads them after a BOS, without what stands before. So every document has the same chance to be in the sample.
    """
    rng = np.random.default_rng(seed)
    pieces, left = [], max_tokens
    for m in rng.permutation(np.flatnonzero(lengths_M > 0)).tolist():
        if left == 0:
            break
        length = min(int(lengths_M[m]), left)
        start = int(rng.integers(int(lengths_M[m]) - length + 1))
        pieces.append(_cut(int(rows_M[m]), start, length, longest))
        left -= length
    return _join(pieces)


def draw_sequences(sequences_S: Sequences, count: int, seed: int) -> Sequences:
    """One random sequence of each of `count` random documents (of all, where there are no more)."""
    shuffled_S = np.random.default_rng(seed).permutation(sequences_S)
    _, first_M = np.unique(shuffled_S["document"], return_index=True)
    chosen: Sequences = shuffled_S[np.random.default_rng(seed).permutation(first_M)[:count]]
    return chosen


def _cut(row: int, start: int, length: int, longest: int) -> Sequences:
    """A stretch of a document in sequences of at most `longest` tokens."""
    stop = start + length
    return np.array([(row, at, min(longest, stop - at)) for at in range(start, stop, longest)], SEQUENCE)


def _join(pieces: list[Sequences]) -> Sequences:
    return np.concatenate([np.empty(0, SEQUENCE), *pieces])
