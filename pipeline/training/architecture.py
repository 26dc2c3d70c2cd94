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
from pipeline.training.tiles import Rows, Tile, Weights

TRAINING_TILE_FEATURES = 4096
GRADIENT_NORM = 1.0
"""Gradients of a larger norm are scaled down to this."""


class StepStats(NamedTuple):
    """Statistics of one step, before its update. Sums over the batch's tokens."""

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
        starts = range(0, num_features, TRAINING_TILE_FEATURES)
        self.tiles = [slice(i, min(i + TRAINING_TILE_FEATURES, num_features)) for i in starts]
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
        """Share of features that were inactive over the last `window` tokens, or all there were."""
        since = self.tokens_seen - min(window, self.tokens_seen)
        return int((self.last_active_F <= since).sum()) / len(self.last_active_F)

    def threshold(self) -> float:
        """Threshold that a pre-activation must exceed when the trained SAE is used, in units of x~."""
        return 0.0

    @torch.no_grad()
    def fold(self, header: SAEHeader, scale: float, mean_D: Tensor) -> SAE:
        """The SAE for raw activations, given c (`scale`) and mu (`mean_D`): see docs/method.md.

        Computed in float64, on the CPU.
        """
        mean_D = mean_D.cpu().double()
        W_enc_FD, b_enc_F, W_dec_FD, b_dec_D = (torch.empty_like(w, dtype=torch.float32) for w in self.weights)
        threshold_F = torch.empty_like(b_enc_F)
        b_dec_D.copy_(self.weights.b_dec_D.cpu().double() / scale + mean_D)
        for features in self.tiles:
            W_enc_TD, b_enc_T, W_dec_TD, _ = (weight.cpu().double() for weight in self.weights.tile(features))
            norm_T = W_dec_TD.norm(dim=1)
            W_enc_FD[features] = W_enc_TD * norm_T[:, None]
            b_enc_F[features] = norm_T * (b_enc_T / scale - W_enc_TD @ mean_D)
            W_dec_FD[features] = W_dec_TD / norm_T[:, None]
            threshold_F[features] = self.threshold() * norm_T / scale
        return SAE(header, W_enc_FD, b_enc_F, W_dec_FD, b_dec_D, threshold_F)

    @torch.no_grad()
    def unfold(self, sae: SAE, scale: float, mean_D: Tensor) -> None:
        """Take the parameters of an SAE for raw activations, on the CPU: the inverse of `fold`. Computed in float64.

        What `fold` takes out, the norms of the decoder's rows, is chosen anew (`decoder_norms`).
        """
        mean_D = mean_D.cpu().double()
        self.weights.b_dec_D.copy_((sae.b_dec_D.cpu().double() - mean_D) * scale)
        for features in self.tiles:
            W_enc_TD = sae.W_enc_FD[features].cpu().double()
            norm_T = self.decoder_norms(W_enc_TD)
            W_enc_TD /= norm_T[:, None]
            self.weights.W_enc_FD[features] = W_enc_TD.to(self.weights.W_enc_FD)
            b_enc_T = scale * (sae.b_enc_F[features].cpu().double() / norm_T + W_enc_TD @ mean_D)
            self.weights.b_enc_F[features] = b_enc_T.to(self.weights.b_enc_F)
            self.weights.W_dec_FD[features] = (sae.W_dec_FD[features].cpu() * norm_T[:, None]).to(self.weights.W_dec_FD)
        self.low_W_enc_FD.copy_(self.weights.W_enc_FD)

    def decoder_norms(self, W_enc_TD: Tensor) -> Tensor:
        """Norms [T] with which decoder rows begin, given the encoder's rows where the decoder's have norm 1."""
        return W_enc_TD.new_ones(len(W_enc_TD))

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


def squared_sum(values_BD: Tensor) -> float:
    """Sum of squares over all entries: within rows as they are, over rows in float64."""
    return float(values_BD.square().sum(1).cpu().double().sum())


def _remove_radial(grad_FD: Tensor, W_FD: Tensor) -> None:
    """Take off each row's part along the (unit) weight row, which normalising would undo."""
    grad_FD.addcmul_(W_FD, (grad_FD * W_FD).sum(1, keepdim=True), value=-1)
