"""Texts that no candidate for a label was made from: those that come nowhere near an example of the feature.

Shapes: P windows, N examples.
"""

import numpy as np

from data.artifacts.contexts import context_hashes
from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Ints, Mask, contains, unpack_tokens
from pipeline.labels.rule import BEFORE
from pipeline.scores.sampling import Windows

NEAR = BEFORE
"""Tokens on either side of an example that a label may be made from."""


def unseen_windows(windows: Windows, document_N: Ints, position_N: Ints, corpus: TokenizedCorpus) -> Mask:
    """Which windows have no token in common with the surroundings of the examples, and no copy of one in their middle
    [P]. document_N, position_N: of the examples."""
    sequence_P, position_P = unpack_tokens(windows.token_P)
    document_P = corpus.sequences["document"][sequence_P].astype(np.int64)
    key_N = np.sort((document_N << 32) | position_N)
    low_P = (document_P << 32) | np.maximum(windows.start_P - NEAR, 0)
    high_P = (document_P << 32) | (windows.stop_P + NEAR)
    near_P = np.searchsorted(key_N, high_P) > np.searchsorted(key_N, low_P)
    seen = np.unique(context_hashes(corpus, document_N, position_N))
    copied_P = contains(seen, context_hashes(corpus, document_P, position_P))
    unseen_P: Mask = ~near_P & ~copied_P
    return unseen_P
