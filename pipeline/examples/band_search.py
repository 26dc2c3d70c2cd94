"""Bands that the first pass left open, sampled from all their tokens.

The maximum is known by then, so the band of every token is. Only features with an open band are encoded, and only what
reaches its lowest open band is computed in float32.

Shapes: N rows of a block, U features with an open band, A bands, K pairs.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Floats, Ints
from pipeline.examples.bands import bands_of
from pipeline.examples.contexts import Contexts
from pipeline.examples.selection import Intervals, active_pairs, narrow
from pipeline.examples.shortlist import Entries, Shortlist, first_of_each
from pipeline.models.sae import SAE
from pipeline.recipe import ExamplesConfig

SURELY_BELOW = np.float32(1 - 1e-5)
"""An activation is looked at from this share of its band's lower edge on; its band then follows from the value."""


class BandSearch:
    """Samples the open bands of one SAE, block after block."""

    def __init__(
        self, sae: SAE, intervals: Intervals, max_F: Floats, config: ExamplesConfig, corpus: TokenizedCorpus
    ) -> None:
        self._before, self._config = intervals, config
        self.features = np.flatnonzero(intervals.open_FA.any(1))
        self._open_UA = intervals.open_FA[self.features]
        self._max_U = max_F[self.features]
        lowest_U = self._max_U * self._open_UA.argmax(1).astype(np.float32) / np.float32(config.bands) * SURELY_BELOW
        self._sae, self._place_F = narrow(sae, self.features, lowest_U)
        self._counts = np.zeros(self._open_UA.size, np.int64)
        self._sample = Shortlist(self._open_UA.size, config.per_band, context=Contexts(corpus).of)

    def add(self, x_ND: Tensor, token_N: Ints) -> None:
        """Take in the rows of a block; `token_N` names them (see pack_tokens)."""
        for pairs in active_pairs(self._sae, x_ND, token_N, getattr(torch, self._config.dtype)):
            place_K = self._place_F[pairs.feature_K]
            band_K = bands_of(pairs.value_K, self._max_U[place_K], self._config.bands)
            inside = np.flatnonzero((place_K >= 0) & self._open_UA[place_K, band_K])
            group_K = place_K[inside] * self._config.bands + band_K[inside]
            self._counts += np.bincount(group_K, minlength=len(self._counts))
            key_K = pairs.keys(self.features[place_K])[inside]
            admitted = self._sample.admits(group_K, key_K)
            which = inside[admitted]
            token_K, value_K = pairs.token_T[pairs.row_K[which]], pairs.value_K[which]
            self._sample.add(Entries(group_K[admitted], key_K[admitted], token_K, value_K))

    def result(self) -> Intervals:
        """The intervals with these bands sampled uniformly and counted."""
        bands, counts_FA, before = self._config.bands, self._before.counts_FA.copy(), self._before.entries
        counts_FA[self.features] = np.where(
            self._open_UA, self._counts.reshape(self._open_UA.shape), counts_FA[self.features]
        )
        kept = before.take(~self._before.open_FA.reshape(-1)[before.group_N])
        found = self._sample.result()
        found = found._replace(group_N=self.features[found.group_N // bands] * bands + found.group_N % bands)
        columns: Iterable[tuple[np.ndarray, np.ndarray]] = zip(kept, found, strict=True)
        entries = first_of_each(Entries._make(np.concatenate(pair) for pair in columns), self._config.per_band)
        return Intervals(entries, counts_FA, np.zeros_like(self._before.open_FA))
