"""Sparse autoencoders in training: ReLU with L1 (the default), TopK and BatchTopK, one class each.

They see normalised activations x~ = c (x - mu) with E|x~|^2 = D, and are folded into an `SAE` when they are saved.
Gradients are written out by hand: the encoder's product runs in bfloat16 on a copy of the float32 weights, and all else
costs as much as there are active pairs (see tiles.py). Tests hold every step against autograd.

Shapes: B tokens, D width of the residual stream, F features, T features of a tile, K candidates of a token in a tile,
N in all tiles, U features that are dead.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.models.sae import SAE, SAEHeader
from pipeline.models.tiles import (
    DenseTile,
    Rows,
    SparseTile,
    Tile,
    Weights,
    count_above_zero,
    find_above,
    gather_pairs,
    pairs_where,
)

TILE_FEATURES = 4096
GRADIENT_NORM = 1.0
"""Gradients of a larger norm are scaled down to this."""
DENSE_SHARE = 0.07
"""With a larger share of pairs active, dense products are faster than sparse ones (measured on 2 cores)."""
AUXILIARY_FEATURES = 512
"""Dead features that may reconstruct one token's error in the auxiliary loss (k_aux in Gao et al. 2024)."""
THRESHOLD_MOMENTUM = 0.97
"""Of the running mean of the smallest activation that BatchTopK keeps."""
FLOOR_MARGIN = 0.75
"""BatchTopK looks for its largest values above this share of the last step's smallest."""


class StepStats(NamedTuple):
    """What one step saw, before its update. Sums over the batch's tokens."""

    loss: float
    """Mean over the tokens."""
    squared_error: float
    squared_norm: float
    """Of x~."""
    num_active: int
    """Active (token, feature) pairs."""


class Architecture(ABC):
    """One sparse autoencoder in training.

    `dtype` is that of the master weights, gradients and Adam's moments; `low` that of large products.
    """

    initial_decoder_norm: float
    unit_decoder: bool
    """Whether decoder rows are kept at norm 1."""

    def __init__(
        self,
        num_features: int,
        width: int,
        *,
        seed: int,
        dtype: torch.dtype = torch.float32,
        low: torch.dtype = torch.bfloat16,
        device: str = "cpu",
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        W_dec_FD = torch.randn(num_features, width, generator=generator, dtype=dtype)
        W_dec_FD *= self.initial_decoder_norm / W_dec_FD.norm(dim=1, keepdim=True)
        W_dec_FD = W_dec_FD.to(device)
        b_enc_F, b_dec_D = W_dec_FD.new_zeros(num_features), W_dec_FD.new_zeros(width)
        self.weights = Weights(W_dec_FD.clone(), b_enc_F, W_dec_FD, b_dec_D)
        self.grads = Weights(*map(torch.zeros_like, self.weights))
        self.low = low
        self.low_W_enc_FD = self.weights.W_enc_FD.to(low)
        self.tiles = [slice(i, min(i + TILE_FEATURES, num_features)) for i in range(0, num_features, TILE_FEATURES)]
        self.tokens_seen = 0
        self.last_active_F = torch.zeros(num_features, dtype=torch.int64, device=device)
        """`tokens_seen` at the end of the last batch in which each feature was active."""
        self.optimizer = torch.optim.Adam(self.weights, lr=0.0, betas=(0.9, 0.999), fused=True)
        for weight, grad in zip(self.weights, self.grads, strict=True):
            weight.grad = grad
        self._pre = W_dec_FD.new_empty(0, dtype=low)

    @property
    def num_features(self) -> int:
        return len(self.weights.b_enc_F)

    @torch.no_grad()
    def step(self, x_BD: Tensor, *, learning_rate: float, warmup: float) -> StepStats:
        """One step of Adam on normalised activations; `warmup` in [0, 1] scales what a sparsity loss weighs."""
        x = Rows.of(x_BD, self.low)
        self.tokens_seen += len(x_BD)
        stats = self.compute_gradients(x, warmup)
        if self.unit_decoder:
            _remove_radial(self.grads.W_dec_FD, self.weights.W_dec_FD)
        self._update(learning_rate)
        return stats

    @abstractmethod
    def compute_gradients(self, x: Rows, warmup: float) -> StepStats:
        """Fill `grads` with those of the mean loss over the batch, and note which features were active."""

    def dead_share(self, window: int) -> float:
        """Share of features that were silent over the last `window` tokens, or all there were."""
        since = self.tokens_seen - min(window, self.tokens_seen)
        return float((self.last_active_F <= since).double().mean())

    def threshold(self) -> float:
        """What a pre-activation must exceed when the trained SAE is used, in units of x~."""
        return 0.0

    @torch.no_grad()
    def fold(self, header: SAEHeader, scale: float, mean_D: Tensor) -> SAE:
        """The SAE for raw activations, given c (`scale`) and mu (`mean_D`): see docs/method.md. Computed in float64."""
        mean_D = mean_D.to(self.weights.b_dec_D.device, torch.float64)
        W_enc_FD, b_enc_F, W_dec_FD, b_dec_D = (torch.empty_like(w, dtype=torch.float32) for w in self.weights)
        threshold_F = torch.empty_like(b_enc_F)
        b_dec_D.copy_(self.weights.b_dec_D.double() / scale + mean_D)
        for features in self.tiles:
            W_enc_TD, b_enc_T, W_dec_TD, _ = (weight.double() for weight in self.weights.tile(features))
            norm_T = W_dec_TD.norm(dim=1)
            W_enc_FD[features] = W_enc_TD * norm_T[:, None]
            b_enc_F[features] = norm_T * (b_enc_T / scale - W_enc_TD @ mean_D)
            W_dec_FD[features] = W_dec_TD / norm_T[:, None]
            threshold_F[features] = self.threshold() * norm_T / scale
        return SAE(header, W_enc_FD, b_enc_F, W_dec_FD, b_dec_D, threshold_F)

    def state(self) -> dict[str, Any]:
        """Everything that a later step depends on."""
        return {
            "weights": list(self.weights),
            "optimizer": self.optimizer.state_dict(),
            "tokens_seen": self.tokens_seen,
            "last_active_F": self.last_active_F,
        }

    @torch.no_grad()
    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        for weight, saved in zip(self.weights, state["weights"], strict=True):
            weight.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.tokens_seen = state["tokens_seen"]
        self.last_active_F.copy_(state["last_active_F"])
        self.low_W_enc_FD.copy_(self.weights.W_enc_FD)

    def _encode(self, x: Rows, features: slice) -> Tensor:
        """Pre-activations of a tile of features [B, T] in low precision, in memory that the next call writes over."""
        shape = (len(x.low_BD), features.stop - features.start)
        if self._pre.numel() < math.prod(shape):
            self._pre = x.low_BD.new_empty(math.prod(shape))
        pre_BT = self._pre[: math.prod(shape)].view(shape)
        bias_T = self.weights.b_enc_F[features].to(self.low)
        return torch.addmm(bias_T, x.low_BD, self.low_W_enc_FD[features].t(), out=pre_BT)

    def _reconstruction_gradients(self, x: Rows, tiles: Sequence[Tile], cost_F: Tensor | None = None) -> Tensor:
        """Fill `grads` for the squared error plus `cost_F` times the activations; returns the error x~^ - x~ [B, D].

        `cost_F` counts as given: what it adds to the decoder's gradient is up to the caller.
        """
        error_BD = self.weights.b_dec_D - x.full_BD
        for features, tile in zip(self.tiles, tiles, strict=True):
            error_BD += tile.decode(self.weights.W_dec_FD[features])
            self.last_active_F[features].masked_fill_(tile.total_T > 0, self.tokens_seen)
        grad = Rows.of(error_BD * (2 / len(error_BD)), self.low)
        torch.sum(grad.full_BD, 0, out=self.grads.b_dec_D)
        for features, tile in zip(self.tiles, tiles, strict=True):
            cost_T = None if cost_F is None else cost_F[features]
            tile.backward(x, grad, cost_T, self.weights.tile(features), self.grads.tile(features))
        return error_BD

    def _update(self, learning_rate: float) -> None:
        norm = torch.nn.utils.get_total_norm(self.grads)
        self.optimizer.param_groups[0]["lr"] = learning_rate
        # Fused Adam divides gradients by grad_scale as it reads them: clipping without a pass of its own.
        vars(self.optimizer)["grad_scale"] = (norm / GRADIENT_NORM).clamp_min(1.0).float()
        self.optimizer.step()
        if self.unit_decoder:
            W_dec_FD = self.weights.W_dec_FD
            W_dec_FD /= W_dec_FD.norm(dim=1, keepdim=True)
        self.low_W_enc_FD.copy_(self.weights.W_enc_FD)


class ReLU(Architecture):
    """ReLU with an L1 loss weighted by the decoder norms (Templeton et al. 2024)."""

    initial_decoder_norm = 0.1
    unit_decoder = False

    def __init__(self, num_features: int, width: int, *, l1_coefficient: float, **options: Any) -> None:
        super().__init__(num_features, width, **options)
        self.l1_coefficient = l1_coefficient

    def compute_gradients(self, x: Rows, warmup: float) -> StepStats:
        num_tokens = len(x.full_BD)
        norm_F = self.weights.W_dec_FD.norm(dim=1)
        cost = warmup * self.l1_coefficient / num_tokens
        tiles = [self._activate(x, features) for features in self.tiles]
        squared_error = _squared_sum(self._reconstruction_gradients(x, tiles, cost * norm_F))
        total_F = torch.cat([tile.total_T for tile in tiles]).to(norm_F.dtype)
        # The L1 loss through the decoder norms: cost * sum f_i * W_dec,i / |W_dec,i|.
        self.grads.W_dec_FD.addcmul_(self.weights.W_dec_FD, (cost * total_F / norm_F)[:, None])
        loss = squared_error / num_tokens + cost * float(total_F @ norm_F)
        return StepStats(loss, squared_error, _squared_sum(x.full_BD), sum(tile.num_active for tile in tiles))

    def _activate(self, x: Rows, features: slice) -> Tile:
        pre_BT = self._encode(x, features)
        if count_above_zero(pre_BT) > DENSE_SHARE * pre_BT.numel():
            return DenseTile(pre_BT.relu())
        return gather_pairs(pre_BT, find_above(pre_BT, 0.0), x.full_BD.dtype)


class TopK(Architecture):
    """Keeps the k largest pre-activations of each token, and revives dead features (Gao et al. 2024).

    A feature that was silent for `dead_window` tokens is dead: the auxiliary loss lets the dead reconstruct the error
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

    def compute_gradients(self, x: Rows, warmup: float) -> StepStats:
        dead_U = torch.nonzero(self.last_active_F < self.tokens_seen - self.dead_window).flatten()
        tiles = self.select(x)
        error_BD = self._reconstruction_gradients(x, tiles)
        squared_error = _squared_sum(error_BD)
        loss = squared_error / len(error_BD)
        if len(dead_U) and self.auxiliary_coefficient:
            loss += self._add_auxiliary_gradients(x, error_BD, dead_U)
        return StepStats(loss, squared_error, _squared_sum(x.full_BD), sum(tile.num_active for tile in tiles))

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
        if len(dead_U) > AUXILIARY_FEATURES:
            least_B1 = acts_BU.topk(AUXILIARY_FEATURES, dim=1).values[:, -1:]
            acts_BU.mul_(acts_BU >= least_B1)
        rest_BD = torch.addmm(error_BD, acts_BU, W_dec_UD)
        grad_BD = rest_BD * (2 * self.auxiliary_coefficient / len(rest_BD))
        grad_BU = (grad_BD @ W_dec_UD.t()).mul_(acts_BU > 0)
        self.grads.W_dec_FD.index_add_(0, dead_U, acts_BU.t() @ grad_BD)
        self.grads.W_enc_FD.index_add_(0, dead_U, grad_BU.t() @ x.full_BD)
        self.grads.b_enc_F.index_add_(0, dead_U, grad_BU.sum(0))
        return self.auxiliary_coefficient * _squared_sum(rest_BD) / len(rest_BD)


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


def _squared_sum(values_BD: Tensor) -> float:
    return float(values_BD.square().sum(dtype=torch.float64))


def _remove_radial(grad_FD: Tensor, W_FD: Tensor) -> None:
    """Take off each row's part along the (unit) weight row, which normalising would undo."""
    grad_FD.addcmul_(W_FD, (grad_FD * W_FD).sum(1, keepdim=True), value=-1)
