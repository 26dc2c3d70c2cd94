"""Activations of an SAE, or of some of its features, on text that rules are tried on.

Shapes: B tokens of a block, D width, F features of an SAE, K active pairs of a feature and a token.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Floats, Ints
from pipeline.labels.pairs import FeatureActivity
from pipeline.models.sae import SAE

ROWS_AT_ONCE = 2048


class Activity:
    """All active pairs that were found so far."""

    def __init__(self, sae: SAE, dtype: torch.dtype = torch.float32) -> None:
        """dtype: of the search for pairs; every activation is that of float32."""
        self._sae, self._dtype = sae, dtype
        self._parts: list[tuple[Ints, Ints, Floats]] = []

    def take(self, pairs: FeatureActivity) -> None:
        """Take in pairs that were found before."""
        self._parts.append((pairs.feature_K, pairs.token_K, pairs.value_K))

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

    def finish(self) -> FeatureActivity:
        """The pairs by feature."""
        parts, self._parts = self._parts, []
        return FeatureActivity.of_parts(parts, self._sae.num_features)
