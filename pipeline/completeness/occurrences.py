"""How often each concept stands in the training documents, in one pass over their tokens.

Shapes: N tokens of a block, B documents of a block, C concepts.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data.artifacts.corpus import TokenizedCorpus
from data.concepts.matching import Matcher
from pipeline.arrays import Ints, ranges
from pipeline.progress import track

BLOCK_TOKENS = 1 << 20


class Counted(NamedTuple):
    """The concepts in the documents that were read."""

    occurrences_C: Ints
    num_tokens: int


def count_occurrences(
    corpus: TokenizedCorpus, matcher: Matcher, num_concepts: int, max_tokens: int | None = None
) -> Counted:
    """Occurrences on whole words. With `max_tokens` it ends after the document with which that many are reached."""
    occurrences_C, num_tokens = np.zeros(num_concepts, np.int64), 0
    with track("concepts in the corpus", int(corpus.lengths[_first_documents(corpus, max_tokens)].sum())) as progress:
        for token_N in training_texts(corpus, matcher.outside, max_tokens):
            occurrences_C += np.bincount(matcher.find(token_N).concept_H, minlength=num_concepts)
            count = int(np.count_nonzero(token_N != matcher.outside))
            num_tokens += count
            progress.advance(count)
    return Counted(occurrences_C, num_tokens)


def training_texts(corpus: TokenizedCorpus, outside: int, max_tokens: int | None = None) -> Iterator[Ints]:
    """The tokens of the training documents in blocks of whole ones, `outside` behind each.

    With `max_tokens` they end after the document with which that many are reached.
    """
    for block in _blocks(corpus.lengths, _first_documents(corpus, max_tokens)):
        yield _tokens(corpus, block, outside)


def _first_documents(corpus: TokenizedCorpus, max_tokens: int | None) -> Ints:
    """Rows of the training documents that are read."""
    rows = np.flatnonzero(~corpus.held_out)
    if max_tokens is None:
        return rows
    return rows[: int(np.searchsorted(np.cumsum(corpus.lengths[rows]), max_tokens)) + 1]


def _blocks(lengths_D: Ints, documents: Ints) -> Iterator[Ints]:
    """The documents in groups of BLOCK_TOKENS tokens, or of a single longer one."""
    reached = np.cumsum(lengths_D[documents])
    start = 0
    while start < len(documents):
        before = int(reached[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(reached, before + BLOCK_TOKENS, side="right")))
        yield documents[start:stop]
        start = stop


def _tokens(corpus: TokenizedCorpus, documents: Ints, outside: int) -> Ints:
    """The tokens of documents, `outside` after each."""
    lengths_B = corpus.lengths[documents]
    token_N = np.full(int(lengths_B.sum()) + len(documents), outside)
    start_B = np.cumsum(lengths_B + 1) - (lengths_B + 1)
    token_N[ranges(start_B, lengths_B)] = corpus.tokens[ranges(corpus.offsets[documents], lengths_B)]
    return token_N
