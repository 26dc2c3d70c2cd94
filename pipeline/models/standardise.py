"""Normalisations of each token by itself, which some SAEs read through: no weights can stand for them.

Activations of such an SAE are in the units of what it reads; `token_scale` says how long one of them is in the
residual stream, x ~= scale(x) (sum_i f_i(x) d_i + b_dec) + mean(x).

Shapes: [...] any, D width.
"""

import math
from typing import Literal

import torch
from torch import Tensor

Normalisation = Literal["none", "layer_norm", "constant_norm"]
"""none; layer_norm: less the token's mean, by its standard deviation; constant_norm: to the norm sqrt(D)."""
EPSILON = 1e-5
"""Added to the standard deviation on the way in, and not on the way out."""


def standardise(x: Tensor, kind: Normalisation) -> Tensor:
    """What the SAE reads of rows [..., D]."""
    if kind == "none":
        return x
    x = x.float()
    if kind == "layer_norm":
        x = x - x.mean(-1, keepdim=True)
        return x / (x.std(-1, keepdim=True) + EPSILON)
    return x / token_scale(x, kind)


def token_scale(x: Tensor, kind: Normalisation) -> Tensor:
    """Length in the residual stream of an activation of 1, of rows [..., D]: float32 [..., 1], 1 without any."""
    x = x.float()
    if kind == "layer_norm":
        deviation: Tensor = x.std(-1, keepdim=True)
        return deviation
    if kind == "constant_norm":
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return norm / math.sqrt(x.shape[-1])
    return x.new_ones(*x.shape[:-1], 1)


def restore(x_hat: Tensor, x: Tensor, kind: Normalisation) -> Tensor:
    """A reconstruction [..., D] of what the SAE read, as one of the rows x [..., D] themselves."""
    if kind == "none":
        return x_hat
    x_hat = x_hat * token_scale(x, kind)
    return x_hat + x.float().mean(-1, keepdim=True) if kind == "layer_norm" else x_hat
