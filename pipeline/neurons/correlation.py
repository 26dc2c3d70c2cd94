"""Pearson correlation of features with neurons, from sums over tokens of one pass.

    r = sum (f - mean f)(n - mean n) / sqrt(sum (f - mean f)^2 sum (n - mean n)^2)

A feature is zero on nearly every token, so the sum of f n is made over its active tokens alone: no array of tokens by
features is made. Neurons are read less their mean over the first block, whatever that is: r is the same, and the sums
do not lose their digits to a mean that is large beside the spread. Sums of one variable are in float64; products are
added in float32, block by block.

Shapes: N tokens of a block, F features, M neurons of a pass, T neurons of a tile, K best neurons of a feature.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.neurons.active import ActiveFeatures
from pipeline.neurons.passes import tile_width

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

    def add(self, active: ActiveFeatures, neurons_NM: Tensor) -> None:
        """Take in the tokens of a block."""
        if len(neurons_NM) == 0:
            return
        first = self.num_tokens == 0
        self.num_tokens += len(neurons_NM)
        self.num_active_F += active.count_F
        feature_K = torch.repeat_interleave(active.count_F.cpu())
        value_K = active.value_K.cpu().double()
        self._sum_F.index_add_(0, feature_K, value_K)
        self._squares_F.index_add_(0, feature_K, value_K.square())
        seen = active.count_F.nonzero()[:, 0]
        starts_S = active.starts_F[seen]
        for place, products_FT in zip(self._places, self._products, strict=True):
            if first:
                self._shift_M[place] = neurons_NM[:, place].float().mean(0)
            n_NT = neurons_NM[:, place] - self._shift_M[place]  # float32
            bags_ST = torch.nn.functional.embedding_bag(
                active.token_K, n_NT, starts_S, mode="sum", per_sample_weights=active.value_K
            )
            products_FT.index_add_(0, seen, bags_ST)
            self._sum_M[place] += n_NT.sum(0).cpu()
            self._squares_M[place] += n_NT.square_().sum(0).cpu()

    def correlations(self, rows: slice) -> Tensor:
        """r of some features with every neuron, float32 [rows, M]; 0 where either never varies."""
        device = self._shift_M.device
        sum_R = self._sum_F[rows].float()[:, None].to(device)
        scale_R = _inverse_norm(self._sum_F[rows], self._squares_F[rows], self.num_tokens)[:, None].to(device)
        scale_M = _inverse_norm(self._sum_M, self._squares_M, self.num_tokens).to(device)
        mean_M = (self._sum_M / max(self.num_tokens, 1)).float().to(device)
        r_RM = torch.empty(len(sum_R), len(mean_M), device=device)
        for place, products_FT in zip(self._places, self._products, strict=True):
            covariance_RT = torch.addcmul(products_FT[rows], sum_R, mean_M[place], value=-1)
            r_RM[:, place] = covariance_RT.mul_(scale_R).mul_(scale_M[place]).clamp_(-1, 1)
        return r_RM

    def best(self, limit: int, first_neuron: int = 0) -> BestNeurons:
        """The neurons of highest |r| of every feature. first_neuron: number of the first of the pass."""
        found = []
        for start in range(0, len(self._sum_F), ROWS_AT_ONCE):
            parts, first = [], first_neuron
            for r_RT in torch.split(self.correlations(slice(start, start + ROWS_AT_ONCE)), NEURONS_AT_ONCE, 1):
                place_RK = r_RT.abs().topk(min(limit, r_RT.shape[1]), sorted=False).indices
                parts.append(BestNeurons(place_RK + first, r_RT.gather(1, place_RK)))
                first += r_RT.shape[1]
            found.append(_joined(parts, 1).first(limit))
        return _joined(found, 0)


def _joined(parts: Sequence[BestNeurons], dim: int) -> BestNeurons:
    return BestNeurons._make(torch.cat(column, dim) for column in zip(*parts, strict=True))


def _inverse_norm(sum_N: Tensor, squares_N: Tensor, num_tokens: int) -> Tensor:
    """1 over the norm of the values less their mean, float32 [N]; 0 where they never vary. Sums: float64."""
    spread_N = squares_N - sum_N.square() / max(num_tokens, 1)
    # What is left of equal values are the last digits of their squares.
    varies_N = spread_N > 1e-12 * squares_N
    return torch.where(varies_N, spread_N.clamp_min(1e-300).rsqrt(), 0.0).float()
