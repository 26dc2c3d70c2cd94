"""Activations of one batch on one tile of features, and the products that a training step makes of them.

Half of all activations are above zero when training starts, one in a hundred soon after. A tile is kept dense or
sparse, whichever is faster; both give the same sums and gradients. Work goes tile by tile because a tile of encoder
outputs and of weights stays in cache, and no array over all features and tokens is needed once activations are sparse.

Shapes: B tokens, T features of the tile, D width of the residual stream, K active (token, feature) pairs.
"""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


class Weights(NamedTuple):
    """Parameters of an autoencoder or of a tile of its features, or their gradients."""

    W_enc_FD: Tensor
    b_enc_F: Tensor
    W_dec_FD: Tensor
    b_dec_D: Tensor

    def tile(self, features: slice) -> "Weights":
        """Views on some features."""
        return Weights(self.W_enc_FD[features], self.b_enc_F[features], self.W_dec_FD[features], self.b_dec_D)


class Rows(NamedTuple):
    """One row for each token of a batch, in two precisions."""

    full_BD: Tensor
    """In that of the master weights."""
    low_BD: Tensor
    """In that of large products."""

    @classmethod
    def of(cls, rows_BD: Tensor, low: torch.dtype) -> Self:
        return cls(rows_BD, rows_BD.to(low))


class Tile(ABC):
    """Activations f of T features on B tokens."""

    @property
    @abstractmethod
    def num_active(self) -> int:
        """Pairs above zero."""

    @property
    @abstractmethod
    def total_T(self) -> Tensor:
        """Sum of each feature's activations; above zero exactly where the feature is active."""

    @abstractmethod
    def decode(self, W_dec_TD: Tensor) -> Tensor:
        """f W_dec [B, D]."""

    @abstractmethod
    def backward(self, x: Rows, grad: Rows, cost_T: Tensor | None, weights: Weights, grads: Weights) -> None:
        """Fill the tile's `grads`, given the gradient with respect to the reconstruction, and a price per activation.

        grads.W_dec = f^T grad. With g = grad W_dec^T + cost where f > 0, else 0: grads.W_enc = g^T x, grads.b_enc its
        sum over the tokens.
        """


@dataclass(frozen=True)
class DenseTile(Tile):
    """All activations, in low precision."""

    acts_BT: Tensor

    @cached_property
    def num_active(self) -> int:
        return count_above_zero(self.acts_BT)

    @cached_property
    def total_T(self) -> Tensor:
        return _column_sums(self.acts_BT)

    def decode(self, W_dec_TD: Tensor) -> Tensor:
        return (self.acts_BT @ W_dec_TD.to(self.acts_BT.dtype)).to(W_dec_TD.dtype)

    def backward(self, x: Rows, grad: Rows, cost_T: Tensor | None, weights: Weights, grads: Weights) -> None:
        low_W_dec_DT = weights.W_dec_FD.to(self.acts_BT.dtype).t()
        low_cost = torch.zeros(()) if cost_T is None else cost_T
        grad_BT = torch.addmm(low_cost.to(self.acts_BT), grad.low_BD, low_W_dec_DT)
        torch.ops.aten.threshold_backward(grad_BT, self.acts_BT, 0, grad_input=grad_BT)
        grads.W_dec_FD.copy_(self.acts_BT.t() @ grad.low_BD)
        grads.W_enc_FD.copy_(grad_BT.t() @ x.low_BD)
        grads.b_enc_F.copy_(_column_sums(grad_BT))


@dataclass(frozen=True)
class SparseTile(Tile):
    """The pairs above zero, sorted by token."""

    num_tokens: int
    num_features: int
    token_K: Tensor
    """int32"""
    feature_K: Tensor
    """int32, within the tile"""
    value_K: Tensor
    """In the precision of the master weights."""

    @property
    def num_active(self) -> int:
        return len(self.value_K)

    @cached_property
    def total_T(self) -> Tensor:
        return self._sum_by_feature(self.feature_K, self.value_K)

    def keep(self, chosen_K: Tensor) -> "SparseTile":
        """Only some of the pairs, by a mask."""
        columns = (column_K[chosen_K] for column_K in (self.token_K, self.feature_K, self.value_K))
        return SparseTile(self.num_tokens, self.num_features, *columns)

    def decode(self, W_dec_TD: Tensor) -> Tensor:
        start_B = _starts(self.token_K, self.num_tokens)[:-1]
        return embedding_bag(self.feature_K, W_dec_TD, start_B, mode="sum", per_sample_weights=self.value_K)

    def backward(self, x: Rows, grad: Rows, cost_T: Tensor | None, weights: Weights, grads: Weights) -> None:
        # Sorted by feature, every weight is read once and in order, and only the batch's rows are jumped about in.
        feature_K, order_K = torch.sort(self.feature_K, stable=True)
        token_K, value_K = self.token_K[order_K], self.value_K[order_K]
        start_T = _starts(feature_K, self.num_features)
        grad_K = _pair_products(start_T, token_K, weights.W_dec_FD, grad.full_BD)
        if cost_T is not None:
            grad_K += cost_T[feature_K]
        low = grad.low_BD.dtype
        for out_TD, weight_K, rows_BD in ((grads.W_dec_FD, value_K, grad.low_BD), (grads.W_enc_FD, grad_K, x.low_BD)):
            out_TD.copy_(embedding_bag(token_K, rows_BD, start_T[:-1], mode="sum", per_sample_weights=weight_K.to(low)))
        grads.b_enc_F.copy_(self._sum_by_feature(feature_K, grad_K))

    def _sum_by_feature(self, feature_K: Tensor, weight_K: Tensor) -> Tensor:
        return torch.bincount(feature_K, weights=weight_K, minlength=self.num_features).to(weight_K.dtype)


def find_above(pre_BT: Tensor, floor: float) -> Tensor:
    """Numbers in the flattened `pre_BT` of the values above `floor` (at least 0), ascending [K], int64."""
    if pre_BT.device.type != "cpu":
        return torch.nonzero(pre_BT.flatten() > floor).flatten()
    # NumPy finds them several times as fast as torch. Positive bfloat16 numbers are ordered as their bits are.
    if pre_BT.dtype == torch.bfloat16:
        bits = int(torch.tensor(floor, dtype=torch.bfloat16).view(torch.int16))
        return torch.from_numpy(np.flatnonzero(pre_BT.view(torch.int16).numpy() > bits))
    return torch.from_numpy(np.flatnonzero(pre_BT.numpy() > floor))


def count_above_zero(values: Tensor) -> int:
    """Number of `values` that are above zero."""
    if values.dtype == torch.bfloat16 and values.device.type == "cpu":
        return int(np.count_nonzero(values.view(torch.int16).numpy() > 0))
    return int(torch.count_nonzero(values > 0))


def gather_pairs(pre_BT: Tensor, flat_K: Tensor, dtype: torch.dtype) -> SparseTile:
    """The pairs with these numbers in the flattened `pre_BT`, which must ascend."""
    num_tokens, num_features = pre_BT.shape
    number_K = flat_K.int() if pre_BT.numel() < 2**31 else flat_K
    token_K = torch.div(number_K, num_features, rounding_mode="floor").int()
    feature_K = (number_K - token_K * num_features).int()
    return SparseTile(num_tokens, num_features, token_K, feature_K, pre_BT.flatten()[flat_K].to(dtype))


def pairs_where(chosen_BK: Tensor, feature_BK: Tensor, value_BK: Tensor, num_features: int) -> SparseTile:
    """The chosen pairs of K candidates for each token."""
    token_K, place_K = torch.nonzero(chosen_BK, as_tuple=True)
    feature_K, value_K = feature_BK[token_K, place_K], value_BK[token_K, place_K]
    return SparseTile(len(chosen_BK), num_features, token_K.int(), feature_K.int(), value_K)


def _pair_products(start_T: Tensor, token_K: Tensor, left_TD: Tensor, right_BD: Tensor) -> Tensor:
    """For each pair, sorted by feature, left[feature] . right[token] [K]."""
    shape = (len(left_TD), len(right_BD))
    zero_K = left_TD.new_zeros(len(token_K))
    pairs = torch.sparse_csr_tensor(start_T, token_K, zero_K, shape, check_invariants=False)
    products: Tensor = torch.sparse.sampled_addmm(pairs, left_TD, right_BD.t(), beta=0.0)
    return products.values()


def _starts(number_K: Tensor, num: int) -> Tensor:
    """In pairs sorted by a number below `num`: where each number's pairs start, and the end [num + 1], int32."""
    start = torch.zeros(num + 1, dtype=torch.int32, device=number_K.device)
    torch.cumsum(torch.bincount(number_K, minlength=num), 0, out=start[1:])
    return start


def _column_sums(values_BT: Tensor) -> Tensor:
    """As a product, which is several times as fast as a sum."""
    return values_BT.new_ones(len(values_BT)) @ values_BT


def _silence_beta_notice() -> None:
    """torch says once in each process that CSR tensors are in beta; let it say so here, unheard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 0], [], torch.zeros(0), (1, 1), check_invariants=False)


_silence_beta_notice()
