"""The context of a token, by which copies of a text are known: the token with those right before and after it.

Two tokens of a corpus stand in the same context when they and the CONTEXT_SIDE tokens on either side are the same, or
as many as there are up to the beginning or end of their documents. Contexts are compared by 63-bit hashes.

Shapes: N tokens, W = 2 CONTEXT_SIDE + 1 places of a context.
"""

from typing import cast

import numpy as np
import numpy.typing as npt

from data.artifacts.corpus import TokenizedCorpus

CONTEXT_SIDE = 8
"""Tokens on either side."""
TOKENS_AT_ONCE = 1 << 15
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

Ints = npt.NDArray[np.int64]


def context_hashes(corpus: TokenizedCorpus, document_N: Ints, position_N: Ints) -> Ints:
    """A number, not negative, for the context of each token [N], given by document row and position."""
    tokens, lengths = corpus.tokens.view(np.ndarray), corpus.lengths
    parts = [np.zeros(0, np.int64)]
    for start in range(0, len(document_N), TOKENS_AT_ONCE):
        some = slice(start, start + TOKENS_AT_ONCE)
        at_NW = position_N[some, None] + np.arange(-CONTEXT_SIDE, CONTEXT_SIDE + 1)
        inside_NW = (at_NW >= 0) & (at_NW < lengths[document_N[some], None])
        ids_NW = tokens[np.where(inside_NW, corpus.offsets[document_N[some], None] + at_NW, 0)]
        parts.append(hash_contexts(np.where(inside_NW, ids_NW.astype(np.int64), -1)))
    return np.concatenate(parts)


def hash_contexts(ids_NW: Ints) -> Ints:
    """A number, not negative, for each context of token ids, -1 for places outside of the document [N]."""
    hash_N = np.zeros(len(ids_NW), np.uint64)
    for ids_N in ids_NW.T:
        hash_N = (hash_N + (ids_N + 1).astype(np.uint64)) * _FACTOR
        hash_N ^= hash_N >> np.uint64(29)
    return cast(Ints, (hash_N >> np.uint64(1)).astype(np.int64))
