"""TopK and BatchTopK autoencoders, with the auxiliary loss that revives dead features."""

import math
from typing import Any

import torch
from torch import Tensor

from pipeline.models.sae import SAE
from pipeline.training.architecture import Architecture, StepStats, squared_sum
from pipeline.training.tiles import Rows, SparseTile, find_above, gather_pairs, pairs_where

AUXILIARY_FEATURES = 512
"""At most so many dead features reconstruct one token's error in the auxiliary loss; see `num_auxiliary`."""
THRESHOLD_MOMENTUM = 0.97
"""Of the running mean of the smallest activation that BatchTopK keeps."""
FLOOR_MARGIN = 0.75
"""BatchTopK looks for its largest values above this share of the last step's smallest."""


class TopK(Architecture):
    """Keeps the k largest pre-activations of each token, and revives dead features (Gao et al. 2024).

    A feature that was inactive for `dead_window` tokens is dead: the auxiliary loss lets the dead reconstruct the error
    that the others left, weighted by `auxiliary_coefficient`.
    """

    initial_decoder_norm = 1.0
    unit_decoder = True

    def __init__(
        self,
        num_features: int,
        width: int,
        *,
        k: int,
        auxiliary_coefficient: float,
        dead_window: int,
        **options: Any,
    ) -> None:
        super().__init__(num_features, width, **options)
        self.k, self.auxiliary_coefficient, self.dead_window = k, auxiliary_coefficient, dead_window
        self.num_auxiliary = min(AUXILIARY_FEATURES, max(1, width // 2))
        """Dead features that reconstruct one token's error: k_aux, half the width (Gao et al. 2024, appendix A.2)."""

    def compute_gradients(self, x: Rows, warmup: float) -> StepStats:
        dead_U = torch.nonzero(self.last_active_F < self.tokens_seen - self.dead_window).flatten()
        tiles = self.select(x)
        error_BD = self._reconstruction_gradients(x, tiles)
        squared_error = squared_sum(error_BD)
        loss = squared_error / len(error_BD)
        if len(dead_U) and self.auxiliary_coefficient:
            loss += self._add_auxiliary_gradients(x, error_BD, dead_U)
        return StepStats(loss, squared_error, squared_sum(x.full_BD), sum(tile.num_active for tile in tiles))

    def select(self, x: Rows) -> list[SparseTile]:
        """The pairs that are kept: those above zero among each token's k largest."""
        found = [self._largest(x, features) for features in self.tiles]
        value_BN = torch.cat([value_BK for value_BK, _ in found], 1)
        chosen_BN = torch.zeros_like(value_BN, dtype=torch.bool)
        chosen_BN.scatter_(1, value_BN.topk(self.k, dim=1, sorted=False).indices, True).logical_and_(value_BN > 0)
        parts = torch.split(chosen_BN, [value_BK.shape[1] for value_BK, _ in found], dim=1)
        tiles = zip(self.tiles, found, parts, strict=True)
        return [
            pairs_where(part_BK, feature_BK, value_BK.to(x.full_BD.dtype), features.stop - features.start)
            for features, (value_BK, feature_BK), part_BK in tiles
        ]

    def _largest(self, x: Rows, features: slice) -> tuple[Tensor, Tensor]:
        """Each token's k largest pre-activations in a tile, and their features within it."""
        pre_BT = self._encode(x, features)
        value_BK, feature_BK = pre_BT.topk(min(self.k, pre_BT.shape[1]), dim=1, sorted=False)
        return value_BK, feature_BK

    def _add_auxiliary_gradients(self, x: Rows, error_BD: Tensor, dead_U: Tensor) -> float:
        """Add the auxiliary loss's gradients; the error to be reconstructed counts as given."""
        W_enc_UD, W_dec_UD = self.weights.W_enc_FD[dead_U], self.weights.W_dec_FD[dead_U]
        acts_BU = torch.addmm(self.weights.b_enc_F[dead_U], x.full_BD, W_enc_UD.t()).relu_()
        if len(dead_U) > self.num_auxiliary:
            least_B1 = acts_BU.topk(self.num_auxiliary, dim=1).values[:, -1:]
            acts_BU.mul_(acts_BU >= least_B1)
        rest_BD = torch.addmm(error_BD, acts_BU, W_dec_UD)
        grad_BD = rest_BD * (2 * self.auxiliary_coefficient / len(rest_BD))
        grad_BU = (grad_BD @ W_dec_UD.t()).mul_(acts_BU > 0)
        self.grads.W_dec_FD.index_add_(0, dead_U, acts_BU.t() @ grad_BD)
        self.grads.W_enc_FD.index_add_(0, dead_U, grad_BU.t() @ x.full_BD)
        self.grads.b_enc_F.index_add_(0, dead_U, grad_BU.sum(0))
        return self.auxiliary_coefficient * squared_sum(rest_BD) / len(rest_BD)


class BatchTopK(TopK):
    """Keeps the B x k largest pre-activations of a batch (Bussmann et al. 2024).

    When it is used, a feature is active above one threshold, the running mean of the smallest value kept.
    """

    def __init__(self, num_features: int, width: int, **options: Any) -> None:
        super().__init__(num_features, width, **options)
        self.smallest, self.running_threshold = 0.0, math.nan

    def select(self, x: Rows) -> list[SparseTile]:
        """The pairs that are kept: those above zero among the batch's B x k largest."""
        number = self.k * len(x.full_BD)
        tiles = self._above(x, FLOOR_MARGIN * self.smallest)
        if sum(tile.num_active for tile in tiles) < number and self.smallest > 0:
            tiles = self._above(x, 0.0)
        value_K = torch.cat([tile.value_K for tile in tiles])
        chosen_K = torch.ones_like(value_K, dtype=torch.bool)
        if len(value_K) > number:
            chosen_K = torch.zeros_like(chosen_K).index_fill_(0, value_K.topk(number, sorted=False).indices, True)
        self._note_smallest(float(value_K[chosen_K].min()) if len(value_K) else 0.0)
        parts = torch.split(chosen_K, [tile.num_active for tile in tiles])
        return [tile.keep(part_K) for tile, part_K in zip(tiles, parts, strict=True)]

    def threshold(self) -> float:
        return 0.0 if math.isnan(self.running_threshold) else self.running_threshold

    def unfold(self, sae: SAE, scale: float, mean_D: Tensor) -> None:
        super().unfold(sae, scale, mean_D)
        self.smallest = self.running_threshold = float(sae.threshold_F.cpu().double().mean()) * scale

    def state(self) -> dict[str, Any]:
        return {**super().state(), "smallest": self.smallest, "running_threshold": self.running_threshold}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.smallest, self.running_threshold = state["smallest"], state["running_threshold"]

    def _above(self, x: Rows, floor: float) -> list[SparseTile]:
        found = []
        for features in self.tiles:
            pre_BT = self._encode(x, features)
            found.append(gather_pairs(pre_BT, find_above(pre_BT, floor), x.full_BD.dtype))
        return found

    def _note_smallest(self, smallest: float) -> None:
        self.smallest = smallest
        before = smallest if math.isnan(self.running_threshold) else self.running_threshold
        self.running_threshold = THRESHOLD_MOMENTUM * before + (1 - THRESHOLD_MOMENTUM) * smallest
