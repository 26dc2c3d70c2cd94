"""Sizes of groups in which rows are computed together so that each gets the same bits as in any other company.

A matrix product adds up each number in an order that the kernel chooses by the number of rows, and never by what is in
them. So a size can be tried once, with any numbers: it is **steady** when each row gets the same bits at every place,
and two sizes **agree** when a row gets the same bits in both. Rows are computed together in groups of steady sizes that
agree, the last one filled up with rows of zeros. Where no larger size is steady, rows are computed one at a time, which
is right whatever the kernels do.

Shapes: B rows of a group, D width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SIZES = (1, 2, 4, 6, 8, 12, 16, 24, 32)
"""Sizes that are tried."""

Compute = Callable[[Tensor], list[Tensor]]
"""From rows [B, D] to all that is computed of them on the way, each [B, ...]."""


def group_sizes(compute: Compute, width: int, like: Tensor) -> tuple[int, ...]:
    """The sizes, ascending, in which rows of this width, of the dtype and device of `like`, may be computed."""
    generator = torch.Generator().manual_seed(0)
    x_BD = torch.randn(SIZES[-1], width, generator=generator).to(like.device, like.dtype)
    steady = {size: result for size in SIZES if (result := _steady_result(compute, x_BD[:size])) is not None}
    classes = [[other for other in steady if _agree(steady[size], steady[other])] for size in steady]
    return tuple(max(classes, key=lambda sizes: (len(sizes), sizes[-1])))


def split_into_groups(rows: Sequence[int], sizes: Sequence[int]) -> list[tuple[Sequence[int], int]]:
    """Groups of rows, each with the size to which it is filled up: the fewest, the last as small as it may be."""
    groups = [rows[start : start + sizes[-1]] for start in range(0, len(rows), sizes[-1])]
    return [(group, next(size for size in sizes if size >= len(group))) for group in groups]


def _steady_result(compute: Compute, x_BD: Tensor) -> list[Tensor] | None:
    """What is computed of some rows; None when a row's place among them changes it.

    All are moved by one place, so that each place is compared with the next.
    """
    expected = compute(x_BD)
    moved = [part.roll(-1, 0) for part in compute(x_BD.roll(1, 0))]
    return expected if _agree(expected, moved) else None


def _agree(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether the rows that two results have in common are the same to the bit."""
    common = min(len(first[0]), len(second[0]))
    pairs = zip(first, second, strict=True)
    return all(torch.allclose(a[:common], b[:common], rtol=0, atol=0, equal_nan=True) for a, b in pairs)
