"""Top examples of features that lack some after the first pass, because copies crowded the list while it was made.

Another pass over the corpus holds many more contexts of these features alone until the end, see shortlist.py.

Shapes: N rows of a block, U features that are sought, K pairs.
"""

import numpy as np
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Ints
from pipeline.examples.selection import active_pairs, narrow, offer_top, top_shortlist
from pipeline.examples.shortlist import Entries
from pipeline.models.sae import SAE
from pipeline.recipe import ExamplesConfig

MORE_CONTEXTS = 256
"""Held beyond those asked for."""


class TopSearch:
    """Seeks the top of some features of one SAE, block after block."""

    def __init__(self, sae: SAE, features: Ints, config: ExamplesConfig, corpus: TokenizedCorpus) -> None:
        self.features, self._dtype = features, getattr(torch, config.dtype)
        self._sae, self._place_F = narrow(sae, features, np.zeros(len(features), np.float32))
        self._top = top_shortlist(len(features), config.top, corpus, spare=MORE_CONTEXTS)

    def add(self, x_ND: Tensor, token_N: Ints) -> None:
        """Take in the rows of a block; `token_N` names them (see pack_tokens), ascending within each sequence."""
        for pairs in active_pairs(self._sae, x_ND, token_N, self._dtype):
            offer_top(self._top, self._place_F[pairs.feature_K], pairs)

    def result(self) -> Entries:
        """By feature; to take the place of what the first pass found of these."""
        found = self._top.result()
        return found._replace(group_N=self.features[found.group_N])
