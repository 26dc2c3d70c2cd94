"""Pearson correlation of features with neurons, from sums over tokens of one pass.

    r = sum (f - mean f)(n - mean n) / sqrt(sum (f - mean f)^2 sum (n - mean n)^2)

A feature is zero on nearly every token, so the sum of f n is made over its active tokens alone: no array of tokens by
features is made. Neurons are read less their mean over the first block, whatever that is: r is the same, and the sums
do not lose their digits to a mean that is large beside the spread. Sums of one variable are in float64; products are
added in float32, block by block.

Shapes: N tokens of a block, P of these and others that do not count, F features, M neurons of a pass, T neurons of a
tile, K best neurons of a feature.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Ints
from pipeline.neurons.active import ActiveFeatures
from pipeline.neurons.passes import tile_width
from pipeline.neurons.threads import run_side_by_side

ROWS_AT_ONCE, NEURONS_AT_ONCE = 128, 2048
"""Features whose correlations are worked out at once, and neurons among which the best are sought at once."""


class BestNeurons(NamedTuple):
    """The neurons of highest |r| of every feature, the highest first."""

    neuron_FK: Tensor
    """Numbers over all layers, int64."""
    r_FK: Tensor

    def first(self, limit: int) -> "BestNeurons":
        """The first few, sorted."""
        order_FK = self.r_FK.abs().argsort(dim=1, descending=True, stable=True)[:, :limit]
        return BestNeurons(self.neuron_FK.gather(1, order_FK), self.r_FK.gather(1, order_FK))

    def merge(self, other: "BestNeurons", limit: int) -> "BestNeurons":
        """The best of both."""
        return _joined([self, other], 1).first(limit)


class CorrelationSums:
    """Sums over tokens for all features and the neurons of one pass. Memory: 4 bytes for each pair of them."""

    def __init__(self, num_features: int, num_neurons: int, device: torch.device | str = "cpu") -> None:
        self.num_tokens = 0
        self.num_active_F = torch.zeros(num_features, dtype=torch.long, device=device)
        """Tokens on which each feature is active."""
        self._sum_F, self._squares_F = torch.zeros(2, num_features, dtype=torch.float64)
        self._sum_M, self._squares_M = torch.zeros(2, num_neurons, dtype=torch.float64)
        self._shift_M = torch.zeros(num_neurons, device=device)
        width = tile_width(torch.device(device).type)
        self._places = [slice(start, min(start + width, num_neurons)) for start in range(0, num_neurons, width)]
        """Tiles: as many neurons as keep a block of tokens near the processor."""
        self._products = [torch.zeros(num_features, place.stop - place.start, device=device) for place in self._places]

    def add(self, active: ActiveFeatures, neurons_PM: Tensor, row_N: Ints | None = None) -> None:
        """Take in the tokens of a block. row_N: the rows of the neurons that are theirs; None for all."""
        size = len(neurons_PM)
        row_N = np.arange(size) if row_N is None else row_N
        if len(row_N) == 0:
            return
        first = self.num_tokens == 0
        self.num_tokens += len(row_N)
        self._add_features(active)
        device = neurons_PM.device
        left_out_X = torch.from_numpy(np.setdiff1d(np.arange(size), row_N, assume_unique=True)).to(device)
        row_K = torch.from_numpy(row_N).to(device)[active.token_K]

        def add(place: slice, products_FT: Tensor) -> None:
            n_PT = neurons_PM[:, place].to(torch.float32, copy=True)
            if first:
                self._shift_M[place] = n_PT.index_fill(0, left_out_X, 0).sum(0) / len(row_N)
            n_PT = n_PT.sub_(self._shift_M[place]).index_fill_(0, left_out_X, 0)
            products_FT += torch.nn.functional.embedding_bag(
                row_K, n_PT, active.starts_F, mode="sum", per_sample_weights=active.value_K
            )
            self._sum_M[place] += n_PT.sum(0).cpu()
            self._squares_M[place] += n_PT.square_().sum(0).cpu()

        tiles = zip(self._places, self._products, strict=True)
        run_side_by_side((partial(add, *tile) for tile in tiles), device.type)

    def _add_features(self, active: ActiveFeatures) -> None:
        self.num_active_F += active.count_F
        feature_K = torch.repeat_interleave(active.count_F.cpu())
        value_K = active.value_K.cpu().double()
        self._sum_F.index_add_(0, feature_K, value_K)
        self._squares_F.index_add_(0, feature_K, value_K.square())

    def correlations(self, rows: slice) -> Tensor:
        """r of some features with every neuron, float32 [rows, M]; 0 where either never varies."""
        return self._scaled(rows).mul_(self._feature_scales(rows)[:, None]).clamp_(-1, 1)

    def _scaled(self, rows: slice) -> Tensor:
        """r of some features, but for a factor of each feature that is not below 0 [rows, M]."""
        device = self._shift_M.device
        sum_R = self._sum_F[rows].float()[:, None].to(device)
        scale_M = _inverse_norm(self._sum_M, self._squares_M, self.num_tokens).to(device)
        mean_M = (self._sum_M / max(self.num_tokens, 1)).float().to(device)
        scaled_RM = torch.empty(len(sum_R), len(mean_M), device=device)
        for place, products_FT in zip(self._places, self._products, strict=True):
            covariance_RT = torch.addcmul(products_FT[rows], sum_R, mean_M[place], value=-1)
            torch.mul(covariance_RT, scale_M[place], out=scaled_RM[:, place])
        return scaled_RM

    def _feature_scales(self, rows: slice) -> Tensor:
        """That factor of some features."""
        return _inverse_norm(self._sum_F[rows], self._squares_F[rows], self.num_tokens).to(self._shift_M.device)

    def best(self, limit: int, first_neuron: int = 0) -> BestNeurons:
        """The neurons of highest |r| of every feature. first_neuron: number of the first of the pass."""
        found = []
        for start in range(0, len(self._sum_F), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            parts, first = [], first_neuron
            for r_RT in torch.split(self._scaled(rows), NEURONS_AT_ONCE, 1):
                place_RK = r_RT.abs().topk(min(limit, r_RT.shape[1]), sorted=False).indices
                parts.append(BestNeurons(place_RK + first, r_RT.gather(1, place_RK)))
                first += r_RT.shape[1]
            neuron_RK, scaled_RK = _joined(parts, 1)
            r_RK = scaled_RK.mul_(self._feature_scales(rows)[:, None]).clamp_(-1, 1)
            found.append(BestNeurons(neuron_RK, r_RK).first(limit))
        return _joined(found, 0)


def _joined(parts: Sequence[BestNeurons], dim: int) -> BestNeurons:
    return BestNeurons._make(torch.cat(column, dim) for column in zip(*parts, strict=True))


def _inverse_norm(sum_N: Tensor, squares_N: Tensor, num_tokens: int) -> Tensor:
    """1 over the norm of the values less their mean, float32 [N]; 0 where they never vary. Sums: float64."""
    spread_N = squares_N - sum_N.square() / max(num_tokens, 1)
    # What is left of equal values are the last digits of their squares.
    varies_N = spread_N > 1e-12 * squares_N
    return torch.where(varies_N, spread_N.clamp_min(1e-300).rsqrt(), 0.0).float()
