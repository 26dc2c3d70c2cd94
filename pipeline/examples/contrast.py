"""Contrast examples: the same tokens as in a feature's top examples, where the feature is lowest.

They are sought among a uniform sample: of every token of the vocabulary the `contrast_occurrences` occurrences with the
lowest hash of (sequence, position). Their residual rows are kept in memory during the pass, so that any feature can be
tried on them afterwards: vocabulary * contrast_occurrences rows at most, however long the corpus (a few hundred
megabytes for the sample; choose fewer occurrences for a wide model).

Shapes: N rows of a block, D width, U sampled occurrences, P pairs of a feature and a token id, C pairs of a chunk,
V vocabulary, E entries.
"""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import (
    Ints,
    ascending_keys,
    contains,
    hash_keys,
    hash_tokens,
    ranges,
    sort_order,
    splitmix64,
    unpack_tokens,
)
from pipeline.examples.contexts import Contexts
from pipeline.examples.selection import Candidates, candidates_of
from pipeline.examples.shortlist import Entries, Shortlist
from pipeline.models.sae import SAE

CHUNK_PAIRS = 4096
CHUNK_ROWS = 512
"""Pairs and occurrences tried at once: the tile [CHUNK_ROWS, CHUNK_PAIRS] is the largest dense thing here."""
PENDING_ROWS = 1 << 16


def token_ids(corpus: TokenizedCorpus, token_N: Ints) -> Ints:
    """The vocabulary's ids of tokens named by `token_N` (see pack_tokens) [N]."""
    sequence_N, position_N = unpack_tokens(token_N)
    document_N = corpus.sequences["document"][sequence_N]
    return cast(Ints, corpus.tokens[corpus.offsets[document_N] + position_N].astype(np.int64))


class Occurrences:
    """A uniform sample of the occurrences of every token id, with their residual rows."""

    def __init__(self, corpus: TokenizedCorpus, vocab_size: int, size: int) -> None:
        self._corpus = corpus
        self._shortlist = Shortlist(vocab_size, size, pending=PENDING_ROWS)
        self._token_U = np.zeros(0, np.int64)
        self._x: list[Tensor] = []
        self._tokens: list[Ints] = []

    def add(self, x_ND: Tensor, token_N: Ints) -> None:
        """Take in the rows of a block."""
        id_N = token_ids(self._corpus, token_N)
        key_N = hash_keys(hash_tokens(token_N), np.zeros_like(token_N))
        which = np.flatnonzero(self._shortlist.admits(id_N, key_N))
        self._x.append(x_ND[torch.from_numpy(which)])
        self._tokens.append(token_N[which])
        self._shortlist.add(Entries(id_N[which], key_N[which], token_N[which], np.zeros(len(which), np.float32)))
        if sum(map(len, self._tokens)) >= max(PENDING_ROWS, len(self._token_U)):
            self._settle()

    def settled(self) -> tuple[Ints, Ints, Tensor]:
        """Ids, tokens and residual rows [U, D] of the sample, sorted by id, then hash."""
        entries = self._settle()
        return entries.group_N, entries.token_N, self._x[0]

    def _settle(self) -> Entries:
        """Forget the rows that are no longer in the sample."""
        entries = self._shortlist.result()
        self._token_U = entries.token_N
        seen = np.concatenate([np.zeros(0, np.int64), *self._tokens])
        order = sort_order(seen)
        places_U = order[np.searchsorted(seen[order], self._token_U)]
        self._x = [torch.cat(self._x)[torch.from_numpy(places_U)]] if self._x else [torch.empty(0, 0)]
        self._tokens = [self._token_U]
        return entries


class ContrastSearch:
    """Finds contrast examples for any SAE among one sample of occurrences."""

    def __init__(self, corpus: TokenizedCorpus, occurrences: Occurrences, vocab_size: int) -> None:
        self._corpus, self._context = corpus, Contexts(corpus).of
        self._id_U, self._token_U, self._x_UD = occurrences.settled()
        self._context_U = self._context(self._token_U)
        self._first_V = np.searchsorted(self._id_U, np.arange(vocab_size + 1))

    def find(self, sae: SAE, top: Candidates, size: int) -> Candidates:
        """For every feature up to `size` occurrences of the tokens of its `top`, lowest pre-activation first.

        Tokens in the same context as one of the feature's `top` are left out, as are these themselves.
        """
        lowest = Shortlist(sae.num_features, size, context=self._context)
        top_keys = np.sort(_pair_keys(top.feature_M, self._context(top.token_M)))
        for feature_C, id_C in self._chunks(top):
            entries, context_E = self._try(sae, feature_C, id_C)
            among_top = contains(top_keys, _pair_keys(entries.group_N, context_E))
            entries = entries.take(~among_top & lowest.admits(entries.group_N, entries.key_N))
            lowest.add(entries)
        found = lowest.result()
        return candidates_of("contrast", found)

    def _chunks(self, top: Candidates) -> Iterator[tuple[Ints, Ints]]:
        """Distinct pairs of a feature and the id of one of its top tokens, sorted by id, some at a time."""
        pair_P = np.unique((token_ids(self._corpus, top.token_M) << 32) | top.feature_M)
        id_P, feature_P = pair_P >> 32, pair_P & 0xFFFFFFFF
        new_P = np.diff(id_P, prepend=-1) > 0
        rows_P = np.cumsum(np.where(new_P, self._first_V[id_P + 1] - self._first_V[id_P], 0))
        start = 0
        while start < len(pair_P):
            stop = int(np.searchsorted(rows_P, rows_P[start] + CHUNK_ROWS, side="right"))
            stop = max(min(stop, start + CHUNK_PAIRS), start + 1)
            yield feature_P[start:stop], id_P[start:stop]
            start = stop

    def _try(self, sae: SAE, feature_C: Ints, id_C: Ints) -> tuple[Entries, Ints]:
        """The pre-activation of each pair's feature on all sampled occurrences of its id, and their contexts [E]."""
        wanted = np.unique(id_C)
        count = self._first_V[wanted + 1] - self._first_V[wanted]
        rows = ranges(self._first_V[wanted], count)
        features, column_C = np.unique(feature_C, return_inverse=True)
        x_RD = self._x_UD[torch.from_numpy(rows)].to(sae.device)
        pre = sae.pre_activations(x_RD, torch.from_numpy(features).to(sae.device)).cpu().numpy()
        row_of_id = (np.cumsum(count) - count)[np.searchsorted(wanted, id_C)]
        count_C = self._first_V[id_C + 1] - self._first_V[id_C]
        row_E = ranges(row_of_id, count_C)
        value_E = pre[row_E, np.repeat(column_C, count_C)]
        feature_E, u_E = np.repeat(feature_C, count_C), rows[row_E]
        return Entries(feature_E, ascending_keys(value_E), self._token_U[u_E], value_E), self._context_U[u_E]


def _pair_keys(feature_N: Ints, context_N: Ints) -> Ints:
    """One number for each feature and context [N]."""
    return (splitmix64(feature_N.astype(np.uint64)) + context_N.astype(np.uint64)).astype(np.int64)
