"""Parts of a decoder: joined and repacked matrix products, norms, rotary embeddings.

Shapes: N tokens that are read at once, L of them of one row, T places of a row, M numbers of a token, H heads, E width
of a head.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.errors import ModelError
from pipeline.models.onednn import multiply, needs_wide_products, onednn_obstacle, pack, wide_linear
from pipeline.models.same_bits import cancelling_weights, group_sizes

ROPE_BLOCK = 256
"""Positions of the rotary table that are made at once."""
UNCUT = 32_768
"""Numbers from which PyTorch cuts an operation on numbers among its threads, anywhere: where it cuts, as at the end of
each row, numbers are worked off one by one, which may round otherwise than many at once."""


class Rope:
    """Cosines and sines of the rotary embedding by position, each computed once."""

    def __init__(self, rotary: Any, dtype: torch.dtype) -> None:
        self._rotary, self._like = rotary, torch.empty(0, dtype=dtype, device=rotary.inv_freq.device)
        self._table_TE = self._block(0)

    def __call__(self, positions_N: Tensor) -> tuple[Tensor, Tensor]:
        """Both [N, E]."""
        while len(self._table_TE[0]) <= int(positions_N.max()):
            further_TE = self._block(len(self._table_TE[0]))
            self._table_TE = tuple(map(torch.cat, zip(self._table_TE, further_TE, strict=True)))
        cosine_TE, sine_TE = self._table_TE
        return cosine_TE[positions_N], sine_TE[positions_N]

    def _block(self, start: int) -> tuple[Tensor, ...]:
        positions_1T = torch.arange(start, start + ROPE_BLOCK, device=self._like.device)[None]
        return tuple(part[0] for part in self._rotary(self._like, positions_1T))


class Cache:
    """Keys and values of one row."""

    def __init__(self, num_layers: int, places: int, heads: int, head_width: int, like: Tensor) -> None:
        self.keys = like.new_zeros(num_layers, heads, places, head_width)
        self.values = torch.zeros_like(self.keys)
        self.length = 0
        """Tokens in place."""

    def copy(self, other: "Cache", num_layers: int, places: int) -> None:
        """Take the first places of the first layers from another row's."""
        if other is not self:
            self.keys[:num_layers, :, :places] = other.keys[:num_layers, :, :places]
            self.values[:num_layers, :, :places] = other.values[:num_layers, :, :places]


class Linear:
    """One or several linear maps of the same input as one product, their outputs side by side."""

    def __init__(self, modules: Sequence[nn.Linear]) -> None:
        weights = [module.weight.detach() for module in modules]
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        biases = [module.bias for module in modules]
        self._bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])
        self.shape = (len(weight), weight.shape[1], self._bias is not None)
        """Numbers that come out and go in, and whether there is a bias."""
        self._packed = _can_pack(weight)
        if not self._packed and len(weights) > 1:
            for module, rows in zip(modules, torch.split(weight, [len(part) for part in weights]), strict=True):
                module.weight = nn.Parameter(rows, requires_grad=False)  # the model reads the joined copy from now on
        # As torch.compile does with frozen weights: twice as fast for few rows, at twice the memory.
        self._weight = pack(weight) if self._packed else weight.float() if needs_wide_products(weight) else weight

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed:
            return multiply(x, self._weight, self._bias)
        if self._weight.dtype != x.dtype:
            return wide_linear(x, self._weight, self._bias)
        return F.linear(x, self._weight, self._bias)


class Norm:
    """RMS norm, in float32 within."""

    def __init__(self, norm: Any) -> None:
        self._weight: Tensor = norm.weight.detach()
        self._epsilon = float(norm.variance_epsilon)

    def __call__(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self._weight.shape, self._weight, self._epsilon)


def steady_sizes(shapes: Sequence[tuple[int, int, bool]], like: Tensor) -> tuple[int, ...]:
    """Sizes of groups for products of these shapes, tried with weights of their own."""
    products = []
    for num_out, num_in, biased in dict.fromkeys(shapes):
        linear = nn.Linear(num_in, num_out, bias=False, device="meta")
        linear.weight = nn.Parameter(cancelling_weights(num_out, num_in, like), requires_grad=False)
        if biased:
            linear.bias = nn.Parameter(like.new_zeros(num_out), requires_grad=False)
        products.append((Linear([linear]), num_in))
    return group_sizes(products, like)


def uncut(function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """A function of single numbers of tensors [N, ...], for as many rows at once as are not cut among threads."""
    step = max(1, (UNCUT - 1) // max(rows[0][0].numel(), 1))
    if len(rows[0]) <= step:
        return function(*rows)
    return torch.cat([function(*some) for some in zip(*(torch.split(part, step) for part in rows), strict=True)])


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding of heads [..., H, E] by cosines and sines [..., E]: each half of a head against the other."""
    cosine, sine = (part.unsqueeze(-2) for part in rope)
    first, second = x.chunk(2, dim=-1)
    return torch.addcmul(x * cosine, torch.cat((-second, first), dim=-1), sine)


def causal_mask(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """0 where a token may look, -inf at those after it: [L, L]."""
    return torch.full((length, length), float("-inf"), dtype=dtype, device=device).triu_(1)


def check_room(places: int, context_length: int) -> None:
    """Raise ModelError when a row would outgrow what the model can read."""
    if places > context_length:
        raise ModelError(
            f"{places} tokens are more than the {context_length} that this model reads: shorten the prompt or "
            "ask for fewer new tokens"
        )


def stop_ids(model: Any) -> frozenset[int]:
    """Tokens that end a text, by the model's own configurations."""
    found: set[int] = set()
    for configuration in (model.config, model.generation_config):
        ids = getattr(configuration, "eos_token_id", None)
        found |= set() if ids is None else {ids} if isinstance(ids, int) else set(ids)
    return frozenset(found)


def _can_pack(weight: Tensor) -> bool:
    on_cpu = weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    return on_cpu and onednn_obstacle() is None
