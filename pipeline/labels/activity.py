"""Activations on the text that rules are tried on: sparse, feature by feature.

Shapes: B tokens of a block, D width, F features of an SAE, K active pairs of a feature and a token.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Floats, Ints, sort_order
from pipeline.models.sae import SAE

ROWS_AT_ONCE = 2048


class Active(NamedTuple):
    """One feature on the text."""

    tokens: Ints
    """Ascending numbers of the tokens on which it is above 0."""
    values: Floats


class Activity:
    """All active pairs of the features of one SAE, or of some of them."""

    def __init__(self, sae: SAE, dtype: torch.dtype = torch.float32) -> None:
        """dtype: of the search for pairs; every activation is that of float32."""
        self._sae, self._dtype = sae, dtype
        self._parts: list[tuple[Ints, Ints, Floats]] = []

    def add(self, x_BD: Tensor, token_B: Ints, chosen: Ints | None = None) -> None:
        """Take in rows of the stream with the numbers of their tokens; `chosen`: the features to look at."""
        sae = self._part_of(chosen)
        for start in range(0, len(x_BD), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            for found in sae.encode_by_feature(x_BD[rows].to(sae.device), self._dtype):
                place_K, feature_K, value_K = (column.cpu().numpy() for column in found)
                if chosen is not None and sae is not self._sae:
                    feature_K = chosen[feature_K]
                self._parts.append((feature_K, token_B[rows][place_K], value_K))

    def _part_of(self, chosen: Ints | None) -> SAE:
        """The SAE of some features alone, where activations do not depend on the others."""
        if chosen is None or self._sae.header.nonlinearity == "topk":
            return self._sae
        if self._narrow is None or self._narrow[0] is not chosen:
            features = torch.from_numpy(chosen).to(self._sae.device)
            self._narrow = (chosen, self._sae.among(features, self._sae.threshold_F[features]))
        return self._narrow[1]

    _narrow: tuple[Ints, SAE] | None = None

    def count_above(self, level_F: Floats) -> Ints:
        """Tokens on which each feature reaches a level of its own [F]."""
        total_F = np.zeros(self._sae.num_features, np.int64)
        for feature_K, _, value_K in self._parts:
            total_F += np.bincount(feature_K[value_K >= level_F[feature_K]], minlength=len(total_F))
        return total_F

    def finish(self) -> "FeatureActivity":
        """The pairs by feature."""
        empty = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        feature_K, token_K, value_K = (np.concatenate(column) for column in zip(empty, *self._parts, strict=True))
        self._parts = []
        order_K = sort_order(feature_K, token_K)
        starts_F = np.searchsorted(feature_K[order_K], np.arange(self._sae.num_features + 1))
        return FeatureActivity(token_K[order_K], value_K[order_K], starts_F)


class FeatureActivity(NamedTuple):
    """Active pairs, sorted by feature, then token."""

    token_K: Ints
    value_K: Floats
    starts_F: Ints
    """Where the pairs of each feature begin, and of one more [F + 1]."""

    def of(self, feature: int) -> Active:
        """The active tokens of one feature."""
        some = slice(self.starts_F[feature], self.starts_F[feature + 1])
        return Active(self.token_K[some], self.value_K[some])
