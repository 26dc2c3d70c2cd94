"""Products of an encoder with the residual stream: sought in a low precision, computed in float32 where it matters.

Shapes: N rows, D width, F features, B tokens, K pairs of a feature and a token.
"""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ACCUMULATION = 2.0**-16
"""What adding up in float32 may move a product w . x by, relative to |w| |x|."""


class RoundedRows(NamedTuple):
    """Rows in a lower precision, and how much that may move a product with them."""

    exact_ND: Tensor
    """float32"""
    rounded_ND: Tensor
    norm_N: Tensor
    """Of the exact rows."""
    error_N: Tensor
    """Norm of what rounding took off each row."""

    @classmethod
    def of(cls, rows_ND: Tensor, dtype: torch.dtype) -> "RoundedRows":
        exact_ND = rows_ND.float()
        rounded_ND, norm_N = (rows_ND if rows_ND.dtype == dtype else exact_ND).to(dtype), exact_ND.norm(dim=1)
        is_exact = dtype in (rows_ND.dtype, torch.float32)
        error_N = torch.zeros_like(norm_N) if is_exact else (exact_ND - rounded_ND.float()).norm(dim=1)
        return cls(exact_ND, rounded_ND, norm_N, error_N)

    def part(self, rows: slice) -> "RoundedRows":
        return RoundedRows._make(column[rows] for column in self)


def pairs_above(encoder: RoundedRows, block: RoundedRows, cut_F: Tensor) -> tuple[Tensor, Tensor]:
    """Features and tokens [K] of all pairs whose product may be above the feature's cut, sorted by feature, then token.

    With w' and x' rounded, |w . x - w' . x'| <= |w - w'| |x| + |w'| |x - x'| (Cauchy and Schwarz): no pair that is
    above in float32 is missed. Rounding the product keeps order, so the cut, less that slack, is rounded like it.
    """
    product_FB = torch.nn.functional.linear(encoder.rounded_ND, block.rounded_ND)
    cut_F = cut_F - slack_of(encoder, block)
    place_K = flat_nonzero(product_FB >= round_down(cut_F, product_FB.dtype)[:, None])
    return place_K // len(block.norm_N), place_K % len(block.norm_N)


def slack_of(encoder: RoundedRows, block: RoundedRows) -> Tensor:
    """What rounding both moves a product of each row of one with any finite row of the other by, at most [F]."""
    error_F, norm_F = encoder.error_N + ACCUMULATION * encoder.norm_N, encoder.norm_N + encoder.error_N
    slack_F: Tensor = error_F * _highest_finite(block.norm_N) + norm_F * _highest_finite(block.error_N)
    return slack_F


def _highest_finite(value_N: Tensor) -> Tensor:
    return value_N.where(value_N.isfinite(), 0).max()


def products_at(W_FD: Tensor, x_BD: Tensor, feature_K: Tensor, token_K: Tensor) -> Tensor:
    """w_f . x_t of pairs of a feature and a token, sorted by feature, then token; float32 [K]."""
    counts_F = torch.bincount(feature_K, minlength=len(W_FD))
    starts_F = torch.nn.functional.pad(torch.cumsum(counts_F, 0), (1, 0))
    zeros_K = torch.zeros(len(feature_K), device=W_FD.device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        pairs_FB = torch.sparse_csr_tensor(starts_F, token_K, zeros_K, (len(W_FD), len(x_BD)), check_invariants=False)
    products_FB: Tensor = torch.sparse.sampled_addmm(pairs_FB, W_FD, x_BD.T, beta=0.0)
    return products_FB.values()


def flat_nonzero(mask_FB: Tensor) -> Tensor:
    """Places of the true ones in the flattened mask."""
    if mask_FB.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask_FB.numpy()))  # twice as fast as torch.nonzero
    return torch.nonzero(mask_FB.view(-1)).view(-1)


def round_down(value_N: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers of `dtype` that are below what rounding makes of each value."""
    rounded_N = value_N.to(dtype)
    return torch.nextafter(rounded_N, torch.full_like(rounded_N, -torch.inf))
