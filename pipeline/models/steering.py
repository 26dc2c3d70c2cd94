"""Steering features in the residual stream after layer N, each row of a batch with its own features, modes and scope.

    x' = x + sum_i change_i d_i      clamp: value_i - f_i(x);  add: value_i;  ablate: -f_i(x)

at every position in scope but the opening token and attention sinks (see left_out.py). What the SAE does not explain of
x stays in x'. All f_i are read from the same x, so several features add up whatever their order.

Shapes: B rows of a batch, L positions, D width, K distinct features of the batch, F features of one SAE.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pipeline.models.errors import ModelError
from pipeline.models.left_out import OPENING, left_out
from pipeline.models.sae import SAE

Mode = Literal["clamp", "add", "ablate"]
"""Kind of intervention on a feature: held at a value (the paper's), a multiple of its direction added, or taken out."""

Scope = Literal["all", "written"]
"""Positions of a row that are steered: all, or only those of the tokens that are written after the prompt."""


@dataclass(frozen=True, eq=False)
class Clamp:
    """One feature of a row: steered, or only measured."""

    sae: SAE
    feature: int
    value: float | None
    """In the residual stream's units: the activation at which it is held, or what is added of its direction; 0 to
    ablate. None leaves it as it is and measures it, whatever the mode."""
    mode: Mode = "clamp"

    def __post_init__(self) -> None:
        if not 0 <= self.feature < self.sae.num_features:
            raise ModelError(
                f"{self.sae.header.name} has no feature {self.feature}: they go from 0 to {self.sae.num_features - 1}"
            )
        if self.value is not None and not math.isfinite(self.value):
            raise ModelError(f"feature {self.feature} cannot be held at {self.value}: give a finite value")
        if self.mode == "ablate" and self.value:
            raise ModelError(f"feature {self.feature} cannot be ablated to {self.value}: its value is 0 then")


class Steered(NamedTuple):
    """The residual stream after the clamps, and what was measured."""

    x_BLD: Tensor
    """In the dtype that came in; rows without a steered feature are unchanged to the bit."""
    activations_BLK: Tensor
    """float32: how much of each feature's direction is in x' by the SAE's reading of x: the value at which it is held,
    f_i(x) + value where that is added, f_i(x) where it is not steered, 0 at positions left out."""
    left_out_BL: Tensor
    """bool: neither changed nor measured."""


class Steering:
    """The clamps of every row of a batch, all on one layer."""

    def __init__(
        self, rows: Sequence[Sequence[Clamp]], *, sink_norm: float | None, starts: Sequence[int] | None = None
    ) -> None:
        """rows: the clamps of each row, none for a plain one.

        sink_norm: positions whose residual stream is longer than this are attention sinks and left out (the recipe's
        `harvest.sink_factor` times the median norm of the corpus); None leaves out the opening tokens alone.
        starts: the first position of each row that is steered; those before it are only measured. None steers all.
        Raises ModelError when a row names a feature twice.
        """
        pairs = {(id(clamp.sae), clamp.feature): clamp for row in rows for clamp in row}
        self._blocks = _blocks(list(pairs.values()))
        self._readers = [_reader(sae, features) for sae, features in self._blocks]
        slots = {key: slot for slot, key in enumerate(pairs)}
        self.slots: list[list[int]] = [[slots[id(clamp.sae), clamp.feature] for clamp in row] for row in rows]
        """For each row, the place of each of its clamps in K."""
        self._sink_norm = sink_norm
        self._steered_BK = torch.zeros(len(rows), len(pairs), dtype=torch.bool)
        self._value_BK = torch.zeros(len(rows), len(pairs))
        self._kept_BK = torch.zeros(len(rows), len(pairs))  # the share of f_i(x) to which the value is added
        for b, row in enumerate(rows):
            if len(set(self.slots[b])) < len(row):
                raise ModelError("a feature is named twice in one row: give each feature one strength")
            for slot, clamp in zip(self.slots[b], row, strict=True):
                if clamp.value is not None:
                    self._steered_BK[b, slot] = True
                    self._value_BK[b, slot] = clamp.value
                    self._kept_BK[b, slot] = clamp.mode == "add"
        device = next(iter(pairs.values())).sae.device if pairs else torch.device("cpu")
        self._steered_BK, self._value_BK = self._steered_BK.to(device), self._value_BK.to(device)
        self._kept_BK = self._kept_BK.to(device)
        self._start_B = torch.tensor([0] * len(rows) if starts is None else starts, device=device)
        vectors = [clamp.sae.W_dec_FD[clamp.feature] for clamp in pairs.values()]
        self._vectors_KD = torch.stack(vectors) if vectors else None

    def apply(self, x_BLD: Tensor, positions_BL: Tensor) -> Steered:
        """Steer the features of each row."""
        x32_BLD = x_BLD.float()
        left_out_BL = left_out(x32_BLD, positions_BL > OPENING, self._sink_norm)
        if self._vectors_KD is None:
            return Steered(x_BLD, x32_BLD.new_zeros(*left_out_BL.shape, 0), left_out_BL)
        before_BLK = self._measure(x32_BLD).masked_fill_(left_out_BL[..., None], 0.0)
        reached_BL = (positions_BL >= self._start_B[:, None]) & ~left_out_BL
        steered_BLK = self._steered_BK[:, None] & reached_BL[..., None]
        value_BLK = torch.addcmul(self._value_BK[:, None], self._kept_BK[:, None], before_BLK)
        after_BLK = torch.where(steered_BLK, value_BLK, before_BLK)
        # A row that steers nothing adds exact zeros, so rounding back gives what came in.
        steered_BLD = (x32_BLD + self._lengths(x32_BLD, after_BLK - before_BLK) @ self._vectors_KD).to(x_BLD.dtype)
        return Steered(steered_BLD, after_BLK, left_out_BL)

    def _lengths(self, x_BLD: Tensor, change_BLK: Tensor) -> Tensor:
        """Changes of activations as lengths in the residual stream."""
        if all(sae.header.normalisation == "none" for sae, _ in self._blocks):
            return change_BLK
        scales = [sae.token_scale(x_BLD).expand(*x_BLD.shape[:-1], len(features)) for sae, features in self._blocks]
        return change_BLK * torch.cat(scales, dim=-1)

    def _measure(self, x_BLD: Tensor) -> Tensor:
        x_ND = x_BLD.flatten(0, 1)
        return torch.cat([read(x_ND) for read in self._readers], dim=1).view(*x_BLD.shape[:2], -1)


def _blocks(clamps: Sequence[Clamp]) -> list[tuple[SAE, list[int]]]:
    """The features of clamps in their order, those of one SAE in a row together."""
    blocks: list[tuple[SAE, list[int]]] = []
    for clamp in clamps:
        if not blocks or blocks[-1][0] is not clamp.sae:
            blocks.append((clamp.sae, []))
        blocks[-1][1].append(clamp.feature)
    return blocks


def _reader(sae: SAE, features: list[int]) -> Callable[[Tensor], Tensor]:
    """f_i of a few features. TopK needs all of an SAE's features to know which k are active; the others only theirs."""
    index_K = torch.tensor(features, device=sae.device)
    if sae.header.nonlinearity == "topk":
        return lambda x_ND: sae.encode(x_ND, index_K)
    W_KD, b_K, threshold_K = sae.W_enc_FD[index_K], sae.b_enc_F[index_K], sae.threshold_F[index_K]

    def read(x_ND: Tensor) -> Tensor:
        pre_NK = torch.addmm(b_K, sae.standardise(x_ND), W_KD.T)
        return torch.where(pre_NK > threshold_K, pre_NK, 0.0)

    return read
