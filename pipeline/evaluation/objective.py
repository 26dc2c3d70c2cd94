"""The training objective of an autoencoder on held-out tokens, in normalised units, and what else tells how it fares.

Shapes: N tokens, D width, F features.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.evaluation.metrics import Reconstruction, reconstruct
from pipeline.models.sae import SAE

ROWS_AT_ONCE = 1024


class Objective(NamedTuple):
    """Means over the tokens."""

    loss: float
    """squared_error + l1_coefficient * sum of activations, decoder rows having norm 1."""
    squared_error: float
    l0: float
    explained_variance: float
    dead_share: float
    """Share of features that are active on none of the tokens."""
    rare_share: float
    """Share of features that are active on some, but on fewer than `rare_tokens`."""


def measure_objective(sae: SAE, x_ND: Tensor, *, l1_coefficient: float, rare_tokens: int) -> Objective:
    """The objective of an SAE for normalised activations x~ (at least two that differ), in float32.

    l1_coefficient: lambda; 0 where sparsity is no part of the loss.
    """
    found, total = Reconstruction(x_ND.shape[1]), 0.0
    num_active_F = torch.zeros(sae.num_features, dtype=torch.int64, device=sae.device)
    for rows_BD in torch.split(x_ND, ROWS_AT_ONCE):
        sparse, x_hat_BD = reconstruct(sae, rows_BD)
        found.add(rows_BD, x_hat_BD, sparse)
        total += float(sparse.value_K.cpu().double().sum())
        num_active_F += torch.bincount(sparse.feature_K, minlength=sae.num_features)
    error, l0, explained = found.mean_squared_error(), found.l0(), found.explained_variance()
    assert error is not None and l0 is not None and explained is not None, "held-out tokens that differ"  # noqa: PT018
    dead_F = num_active_F == 0
    return Objective(
        loss=error + l1_coefficient * total / len(x_ND),
        squared_error=error,
        l0=l0,
        explained_variance=explained,
        dead_share=float(dead_F.cpu().double().mean()),
        rare_share=float((~dead_F & (num_active_F < rare_tokens)).cpu().double().mean()),
    )
