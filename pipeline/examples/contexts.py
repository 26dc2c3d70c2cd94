"""Copies among the tokens of a corpus, known by the same context (data.artifacts.contexts), and how many there are.

Shapes: N tokens, C distinct contexts.
"""

from collections.abc import Iterable

import numpy as np

from data.artifacts.contexts import context_hashes
from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Ints, unpack_tokens


class Contexts:
    """Numbers of the contexts of a corpus's tokens."""

    def __init__(self, corpus: TokenizedCorpus) -> None:
        self._corpus = corpus
        self._document_S = np.asarray(corpus.sequences["document"], np.int64)

    def of(self, token_N: Ints) -> Ints:
        """One number for each token (see pack_tokens), the same where it stands in the same context [N]."""
        sequence_N, position_N = unpack_tokens(token_N)
        return context_hashes(self._corpus, self._document_S[sequence_N], position_N)


class Repeats:
    """Counts of the places that have some contexts, block after block."""

    def __init__(self, contexts: Contexts, token_lists: Iterable[Ints]) -> None:
        """token_lists: tokens whose contexts are counted."""
        self._contexts = contexts
        found = [np.zeros(0, np.int64), *(np.unique(contexts.of(tokens)) for tokens in token_lists)]
        self._context_C = np.unique(np.concatenate(found))
        self._count_C = np.zeros(len(self._context_C), np.int64)

    def add(self, token_N: Ints) -> None:
        """Take in the tokens of a block."""
        place_N, is_known_N = self._places(self._contexts.of(token_N))
        self._count_C += np.bincount(place_N[is_known_N], minlength=len(self._count_C))

    def of(self, token_N: Ints) -> Ints:
        """The other places with the context of each of the tokens [N]."""
        return self._count_C[self._places(self._contexts.of(token_N))[0]] - 1

    def _places(self, context_N: Ints) -> tuple[Ints, np.ndarray]:
        place_N = np.minimum(np.searchsorted(self._context_C, context_N), max(len(self._context_C) - 1, 0))
        if len(self._context_C) == 0:
            return place_N, np.zeros(len(place_N), bool)
        return place_N, self._context_C[place_N] == context_N
