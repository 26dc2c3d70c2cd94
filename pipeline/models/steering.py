"""Clamping features in the residual stream after layer N, each row of a batch with its own.

    x' = x + sum_i (value_i - f_i(x)) d_i

at every position but those left out (see `Steering.apply`). What the SAE does not explain of x stays in x'. All f_i are
read from the same x, so several features add up whatever their order.

Shapes: B rows of a batch, L positions, D width, K distinct features of the batch, F features of one SAE.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.models.errors import ModelError
from pipeline.models.sae import SAE


@dataclass(frozen=True, eq=False)
class Clamp:
    """One feature of a row: held at a value, or only measured."""

    sae: SAE
    feature: int
    value: float | None
    """Activation, in the residual stream's units, at which it is held; None leaves it as it is and measures it."""

    def __post_init__(self) -> None:
        if not 0 <= self.feature < self.sae.num_features:
            raise ModelError(
                f"{self.sae.header.name} has no feature {self.feature}: they go from 0 to {self.sae.num_features - 1}"
            )
        if self.value is not None and not math.isfinite(self.value):
            raise ModelError(f"feature {self.feature} cannot be held at {self.value}: give a finite value")


class Steered(NamedTuple):
    """The residual stream after the clamps, and what was measured."""

    x_BLD: Tensor
    """In the dtype that came in; rows without a held feature are unchanged to the bit."""
    activations_BLK: Tensor
    """float32: the value at which a feature is held, f_i(x) where it is not, 0 at positions left out."""
    left_out_BL: Tensor
    """bool: neither changed nor measured."""


class Steering:
    """The clamps of every row of a batch, all on one layer."""

    def __init__(self, rows: Sequence[Sequence[Clamp]], *, sink_norm: float | None) -> None:
        """rows: the clamps of each row, none for a plain one.

        sink_norm: positions whose residual stream is longer than this are attention sinks and left out (10 times the
        median norm of the corpus); None leaves out the opening tokens alone.
        Raises ModelError when a row names a feature twice.
        """
        pairs = {(id(clamp.sae), clamp.feature): clamp for row in rows for clamp in row}
        self._readers = _readers(list(pairs.values()))
        slots = {key: slot for slot, key in enumerate(pairs)}
        self.slots: list[list[int]] = [[slots[id(clamp.sae), clamp.feature] for clamp in row] for row in rows]
        """For each row, the place of each of its clamps in K."""
        self._sink_norm = sink_norm
        self._held_BK = torch.zeros(len(rows), len(pairs), dtype=torch.bool)
        self._value_BK = torch.zeros(len(rows), len(pairs))
        for b, row in enumerate(rows):
            if len(set(self.slots[b])) < len(row):
                raise ModelError("a feature is named twice in one row: give each feature one strength")
            for slot, clamp in zip(self.slots[b], row, strict=True):
                if clamp.value is not None:
                    self._held_BK[b, slot] = True
                    self._value_BK[b, slot] = clamp.value
        device = next(iter(pairs.values())).sae.device if pairs else torch.device("cpu")
        self._held_BK, self._value_BK = self._held_BK.to(device), self._value_BK.to(device)
        vectors = [clamp.sae.W_dec_FD[clamp.feature] for clamp in pairs.values()]
        self._vectors_KD = torch.stack(vectors) if vectors else None

    def apply(self, x_BLD: Tensor, opening_BL: Tensor) -> Steered:
        """Clamp the features of each row. `opening_BL` marks the opening token (BOS), which is left out like a sink."""
        x32_BLD = x_BLD.float()
        left_out_BL = opening_BL if self._sink_norm is None else opening_BL | (x32_BLD.norm(dim=-1) > self._sink_norm)
        if self._vectors_KD is None:
            return Steered(x_BLD, x32_BLD.new_zeros(*left_out_BL.shape, 0), left_out_BL)
        before_BLK = self._measure(x32_BLD).masked_fill_(left_out_BL[..., None], 0.0)
        held_BLK = self._held_BK[:, None] & ~left_out_BL[..., None]
        after_BLK = torch.where(held_BLK, self._value_BK[:, None], before_BLK)
        # A row that holds nothing adds exact zeros, so rounding back gives what came in.
        steered_BLD = (x32_BLD + (after_BLK - before_BLK) @ self._vectors_KD).to(x_BLD.dtype)
        return Steered(steered_BLD, after_BLK, left_out_BL)

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        self.slots = [self.slots[row] for row in rows]
        self._held_BK, self._value_BK = self._held_BK[rows], self._value_BK[rows]

    def _measure(self, x_BLD: Tensor) -> Tensor:
        x_ND = x_BLD.flatten(0, 1)
        return torch.cat([read(x_ND) for read in self._readers], dim=1).view(*x_BLD.shape[:2], -1)


def _readers(clamps: Sequence[Clamp]) -> list[Callable[[Tensor], Tensor]]:
    """One function per clamp or block of clamps from x_ND to f_NK, in the order of the clamps."""
    blocks: list[tuple[SAE, list[int]]] = []
    for clamp in clamps:
        if not blocks or blocks[-1][0] is not clamp.sae:
            blocks.append((clamp.sae, []))
        blocks[-1][1].append(clamp.feature)
    return [_reader(sae, features) for sae, features in blocks]


def _reader(sae: SAE, features: list[int]) -> Callable[[Tensor], Tensor]:
    """f_i of a few features. TopK needs all of an SAE's features to know which k are active; the others only theirs."""
    index_K = torch.tensor(features, device=sae.device)
    if sae.header.nonlinearity == "topk":
        return lambda x_ND: sae.encode(x_ND, index_K)
    W_KD, b_K, threshold_K = sae.W_enc_FD[index_K], sae.b_enc_F[index_K], sae.threshold_F[index_K]

    def read(x_ND: Tensor) -> Tensor:
        pre_NK = torch.addmm(b_K, x_ND, W_KD.T)
        return torch.where(pre_NK > threshold_K, pre_NK, 0.0)

    return read
