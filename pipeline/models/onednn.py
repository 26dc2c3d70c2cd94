"""Matrix products in bfloat16 by oneDNN, on weights packed once into its own layout.

PyTorch reaches them by operations that no page of its manual names, and that are not there in its builds for Apple's
processors; on others they are there and the processor cannot. So `onednn_obstacle` is asked before weights are packed.
PyTorch's own products in bfloat16 are then so slow that float32 takes their place, with the same rounding at the end.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def onednn_obstacle() -> str | None:
    """The reason why these products cannot be had on this machine; None when they can.

    One small product is tried, for a build may have the operations and no kernel behind them.
    """
    if not torch._C._has_mkldnn:
        return "this PyTorch has no oneDNN"
    if not torch.backends.mkldnn.enabled:
        return "oneDNN is switched off"
    try:
        if not _operations()._is_mkldnn_bf16_supported():
            return "this processor has no bfloat16 products by oneDNN"
        x = torch.ones(1, 8, dtype=torch.bfloat16)
        tried = multiply(x, pack(torch.ones(8, 8, dtype=torch.bfloat16)))
    except (AttributeError, RuntimeError) as error:
        return f"this PyTorch has no bfloat16 products by oneDNN ({str(error).splitlines()[0]})"
    return None if torch.equal(tried, 8 * x) else "oneDNN's bfloat16 products are wrong on this processor"


def pack(weight: Tensor, rows: int | None = None) -> Tensor:
    """A weight [M, K] in oneDNN's layout. rows: of a product for which it is laid out; others work too."""
    return cast(Tensor, _operations()._reorder_linear_weight(weight, rows))


def multiply(x: Tensor, packed: Tensor, bias: Tensor | None = None, then: str = "none") -> Tensor:
    """x @ weight.T + bias. then: what is done to each number, "none" or "swish"."""
    return cast(Tensor, _operations()._linear_pointwise(x, packed, bias, then, [], ""))


def multiply_times(x: Tensor, factor: Tensor, packed: Tensor) -> Tensor:
    """(x @ weight.T) * factor."""
    return cast(Tensor, _operations()._linear_pointwise.binary(x, factor, packed, None, "mul"))


def _operations() -> Any:
    return torch.ops.mkldnn


def product_dtype(dtype: torch.dtype, device: str | torch.device) -> torch.dtype:
    """The dtype of products that may be made in `dtype`: float32 where this machine's in bfloat16 are far slower."""
    is_slow = dtype == torch.bfloat16 and torch.device(device).type == "cpu" and onednn_obstacle() is not None
    return torch.float32 if is_slow else dtype


def needs_wide_products(like: Tensor) -> bool:
    """Whether products of such tensors are made in float32, and rounded at the end."""
    return product_dtype(like.dtype, like.device) != like.dtype


def wide_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, added up in float32 and rounded once to the dtype of x, as oneDNN does it."""
    return F.linear(x.float(), weight.float(), None if bias is None else bias.float()).to(x.dtype)


class WideLinear(nn.Linear):
    """A linear map by `wide_linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return wide_linear(x, self.weight, self.bias)


def widen_products(model: nn.Module) -> None:
    """Let a model's linear maps be made by `wide_linear`. Its weights stay as they are."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = WideLinear
