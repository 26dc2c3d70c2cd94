"""The random sample of held-out documents that cross-entropy is measured on.

Shapes: M documents, S sequences.
"""

import numpy as np
import numpy.typing as npt

from data.artifacts.corpus import SEQUENCE, Cutting
from pipeline.arrays import ranks

Sequences = npt.NDArray[np.void]
"""Of dtype SEQUENCE."""


def whole_documents(rows_M: npt.NDArray[np.int64], lengths_M: npt.NDArray[np.int64], cutting: Cutting) -> Sequences:
    """The sequences [S] of all documents with these rows and numbers of tokens."""
    pairs = zip(rows_M.tolist(), lengths_M.tolist(), strict=True)
    return np.array([(row, *piece) for row, length in pairs for piece in cutting.pieces(length)], SEQUENCE)


def draw_in_turn(sequences_S: Sequences, max_tokens: int, seed: int) -> Sequences:
    """A random sample of some sequences [S], at most `max_tokens` tokens in all.

    Documents come in random order and give one random sequence each, then a second one, and so on until the budget is
    reached; the last one is cut to what is left of it. So the sample has as many documents as the budget allows, and
    a long one counts no more than the others as long as all have sequences left.
    """
    rng = np.random.default_rng(seed)
    shuffled_S = rng.permutation(sequences_S)
    _, turn_S = np.unique(shuffled_S["document"], return_inverse=True)
    order_M = rng.permutation(int(turn_S.max(initial=-1)) + 1)
    by_document_S = np.argsort(turn_S, kind="stable")
    round_S = np.empty_like(turn_S)
    round_S[by_document_S] = ranks(turn_S[by_document_S])
    chosen_S: Sequences = shuffled_S[np.lexsort((order_M[turn_S], round_S))]
    reached_S = np.cumsum(chosen_S["length"], dtype=np.int64)
    chosen_S = chosen_S[: int(np.searchsorted(reached_S, max_tokens)) + 1].copy()
    if len(chosen_S) and (over := int(chosen_S["length"].sum(dtype=np.int64)) - max_tokens) > 0:
        chosen_S["length"][-1] -= over
    return chosen_S


def draw_sequences(sequences_S: Sequences, count: int, seed: int) -> Sequences:
    """One random sequence of each of `count` random documents (of all, where there are no more)."""
    shuffled_S = np.random.default_rng(seed).permutation(sequences_S)
    _, first_M = np.unique(shuffled_S["document"], return_index=True)
    chosen: Sequences = shuffled_S[np.random.default_rng(seed).permutation(first_M)[:count]]
    return chosen
