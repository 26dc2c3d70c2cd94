"""Activations of chosen features of several SAEs, sparse and sorted by feature.

Shapes: N tokens of a block, D width, F chosen features of all SAEs together, K active pairs of a feature and a token.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.arrays import Ints
from pipeline.models.sae import SAE, SparseActivations


class ActiveFeatures(NamedTuple):
    """Activations above zero in a block, sorted by feature: bags of tokens."""

    token_K: Tensor
    """Number of the row in the block."""
    value_K: Tensor
    """float32"""
    starts_F: Tensor
    """Where the pairs of each feature begin."""
    count_F: Tensor
    """How many there are."""


class FeatureReader:
    """Reads the chosen features of every SAE, numbered one SAE after the other."""

    def __init__(self, saes: Sequence[SAE], chosen: Sequence[Ints], dtype: torch.dtype) -> None:
        """chosen: indices of the features of each SAE, ascending; dtype: of the search alone, activations are exact."""
        self._dtype = dtype
        self._parts = [
            _Part(sae, torch.from_numpy(index).to(sae.device)) for sae, index in zip(saes, chosen, strict=True)
        ]
        self.num_features = sum(map(len, chosen))

    def read(self, x_ND: Tensor) -> ActiveFeatures:
        """The activations on some rows of the residual stream."""
        found, first = [], 0
        for part in self._parts:
            for feature_K, token_K, value_K in part.read(x_ND, self._dtype):
                found.append((feature_K + first, token_K, value_K))
            first += len(part.index)
        feature_K, token_K, value_K = (torch.cat(column) for column in zip(*found, strict=True))
        count_F = torch.bincount(feature_K, minlength=self.num_features)
        return ActiveFeatures(token_K, value_K, count_F.cumsum(0) - count_F, count_F)


class _Part:
    """The chosen features of one SAE."""

    def __init__(self, sae: SAE, index: Tensor) -> None:
        self.index = index
        self._whole = sae.header.nonlinearity == "topk"
        # Which features of a topk SAE are active depends on the others: it is read whole.
        self._sae = sae if self._whole else sae.among(index, sae.threshold_F[index])
        self._place_F = torch.full((sae.num_features,), -1, device=sae.device)
        self._place_F[index] = torch.arange(len(index), device=sae.device)

    def read(self, x_ND: Tensor, dtype: torch.dtype) -> "list[tuple[Tensor, Tensor, Tensor]]":
        """Places among the chosen features, rows and values, sorted by feature."""
        tiles = self._sae.encode_by_feature(x_ND.to(self._sae.device), dtype)
        return [self._chosen(tile) for tile in tiles]

    def _chosen(self, tile: SparseActivations) -> tuple[Tensor, Tensor, Tensor]:
        if not self._whole:
            return tile.feature_K, tile.token_K, tile.value_K
        place_K = self._place_F[tile.feature_K]
        kept_K = place_K >= 0
        return place_K[kept_K], tile.token_K[kept_K], tile.value_K[kept_K]
