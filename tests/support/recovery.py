"""How much of planted features an SAE found: the cosine of the nearest direction, and F1 as a detector.

Shapes: N rows, P planted features, F of the SAE, D width.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.sae import SAE

FOUND = 0.8
"""A planted feature counts as found when a feature of the SAE has this cosine and this F1, both at least."""


@dataclass(frozen=True)
class Recovery:
    """What was found, by planted feature."""

    cosine_P: Tensor
    """Of the nearest decoder direction."""
    f1_P: Tensor
    """Of the feature of the SAE that detects it best: active where it is, inactive where it is not."""
    found_P: Tensor
    """Whether one feature of the SAE has its direction and detects it, FOUND each."""


def best_cosines(planted_PD: Tensor, decoder_FD: Tensor) -> Tensor:
    """Cosine of the nearest of the rows of `decoder_FD` to each planted direction [P]; all rows have norm 1."""
    return (planted_PD @ decoder_FD.T).amax(1)


def detector_f1(sae: SAE, blocks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """F1 of every feature of the SAE as a detector of every planted one [P, F].

    blocks: planted features [N, P] and activations [N, D] of rows that it was not trained on.
    """
    both, planted_P, own_F = 0.0, 0.0, 0.0
    for planted_NP, x_ND in blocks:
        there_NP = (planted_NP > 0).float()
        fires_NF = (sae.encode(x_ND) > 0).float()
        both += there_NP.T @ fires_NF
        planted_P += there_NP.sum(0)
        own_F += fires_NF.sum(0)
    total_PF = torch.as_tensor(planted_P)[:, None] + torch.as_tensor(own_F)
    return 2 * torch.as_tensor(both) / total_PF.clamp_min(1.0)


def recover(planted_PD: Tensor, sae: SAE, blocks: Iterable[tuple[Tensor, Tensor]]) -> Recovery:
    """What an SAE found of planted directions."""
    cosine_PF, f1_PF = planted_PD @ sae.W_dec_FD.T, detector_f1(sae, blocks)
    found_P = ((cosine_PF >= FOUND) & (f1_PF >= FOUND)).any(1)
    return Recovery(best_cosines(planted_PD, sae.W_dec_FD), f1_PF.amax(1), found_P)
