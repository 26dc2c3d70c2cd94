"""ReLU autoencoders with an L1 penalty weighted by decoder norms."""

from typing import Any

import torch
from torch import Tensor

from pipeline.training.architecture import Architecture, StepStats, squared_sum
from pipeline.training.tiles import DenseTile, Rows, Tile, count_above_zero, find_above, gather_pairs

DENSE_SHARE = 0.07
"""With a larger share of pairs active, dense products are faster than sparse ones (measured on 2 cores)."""


class ReLU(Architecture):
    """ReLU with an L1 loss weighted by the decoder norms (Templeton et al. 2024)."""

    initial_decoder_norm = 0.1
    unit_decoder = False

    def __init__(self, num_features: int, width: int, *, l1_coefficient: float, **options: Any) -> None:
        super().__init__(num_features, width, **options)
        self.l1_coefficient = l1_coefficient

    def decoder_norms(self, W_enc_TD: Tensor) -> Tensor:
        """Those by which encoder and decoder rows have the same norm, as they begin and as gradients leave them."""
        norm_T = W_enc_TD.norm(dim=1).sqrt()
        return torch.where(norm_T > 0, norm_T, self.initial_decoder_norm)

    def compute_gradients(self, x: Rows, warmup: float) -> StepStats:
        num_tokens = len(x.full_BD)
        norm_F = self.weights.W_dec_FD.norm(dim=1)
        cost = warmup * self.l1_coefficient / num_tokens
        tiles = [self._activate(x, features) for features in self.tiles]
        squared_error = squared_sum(self._reconstruction_gradients(x, tiles, cost * norm_F))
        total_F = torch.cat([tile.total_T for tile in tiles]).to(norm_F.dtype)
        # The L1 loss through the decoder norms: cost * sum f_i * W_dec,i / |W_dec,i|.
        self.grads.W_dec_FD.addcmul_(self.weights.W_dec_FD, (cost * total_F / norm_F)[:, None])
        loss = squared_error / num_tokens + cost * float(total_F @ norm_F)
        return StepStats(loss, squared_error, squared_sum(x.full_BD), sum(tile.num_active for tile in tiles))

    def _activate(self, x: Rows, features: slice) -> Tile:
        pre_BT = self._encode(x, features)
        if count_above_zero(pre_BT) > DENSE_SHARE * pre_BT.numel():
            return DenseTile(pre_BT.relu())
        return gather_pairs(pre_BT, find_above(pre_BT, 0.0), x.full_BD.dtype)
