"""Sizes of groups in which rows are multiplied together so that each gets the same bits as in any other company.

A matrix product adds up each number in an order that the kernel chooses by the shapes, never by what is in them. So a
shape can be tried once, with any numbers. A size of a group is **steady** when each row gets the same bits at every
place, and two sizes **agree** when a row gets the same bits in both. Rows are multiplied in groups of steady sizes that
agree, the last one filled up. Where no other size is steady rows are multiplied one at a time, which is right whatever
the kernels do.

Rounded to bfloat16, two orders of adding up give the same number nearly always, so the numbers that are tried cancel:
exactly, each sum is 0, and what comes out is the rounding alone, which is another in another order.

Shapes: B rows of a group, K numbers that are added up, M results.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SIZES = (1, 2, 4, 6, 8, 12, 16, 32)
"""Sizes that are tried."""
DISTINCT = 256
"""Rows of the tried weights before they repeat."""
EXPONENTS = 8
"""Range of the numbers that are tried, in powers of 2: the wider it is, the more is rounded."""

Product = Callable[[Tensor], Tensor]
"""From rows [B, K] to [B, M], the weights as `cancelling_weights` gives them."""


def cancelling_weights(num_results: int, width: int, like: Tensor) -> Tensor:
    """Weights [M, K], of the dtype and device of `like`, whose product with `_cancelling_rows` is exactly 0."""
    half_MK = _wide_range(min(num_results, DISTINCT), width // 2)
    weight_MK = torch.cat([half_MK, half_MK.new_zeros(len(half_MK), width % 2), -half_MK.flip(1)], dim=1)
    repeats = -(-num_results // len(weight_MK))
    return weight_MK.to(like.device, like.dtype).repeat(repeats, 1)[:num_results]


def _cancelling_rows(num_rows: int, width: int, like: Tensor) -> Tensor:
    half_BK = _wide_range(num_rows, width // 2)
    x_BK = torch.cat([half_BK, half_BK.new_zeros(num_rows, width % 2), half_BK.flip(1)], dim=1)
    return x_BK.to(like.device, like.dtype)


def _wide_range(rows: int, columns: int) -> Tensor:
    """Random numbers of many sizes, each exact in bfloat16."""
    generator = torch.Generator().manual_seed(rows)
    exponents = torch.randint(-EXPONENTS, 1, (rows, columns), generator=generator)
    return torch.ldexp(torch.randn(rows, columns, generator=generator), exponents).bfloat16().float()


def group_sizes(products: Sequence[tuple[Product, int]], like: Tensor) -> tuple[int, ...]:
    """The sizes, ascending, in which rows may be multiplied by all of some products.

    products: each with its K. like: of the dtype and device of the rows.
    """
    x_BK = {width: _cancelling_rows(SIZES[-1], width, like) for _, width in products}

    def results(size: int, shift: int) -> list[Tensor]:
        return [product(x_BK[width][:size].roll(shift, 0)).roll(-shift, 0) for product, width in products]

    # Moved by one place, each place is compared with the next.
    tried = {size: (results(size, 0), results(size, 1)) for size in SIZES}
    steady = {size: first for size, (first, moved) in tried.items() if _agree(first, moved)}
    classes = [[other for other in steady if _agree(steady[size], steady[other])] for size in steady]
    best: list[int] = max(classes, key=_preference)
    return tuple(best)


def _preference(sizes: Sequence[int]) -> tuple[int, int]:
    return len(sizes), sizes[-1]


def split_into_groups(rows: Sequence[int], sizes: Sequence[int]) -> list[tuple[Sequence[int], int]]:
    """Groups of rows, each with the size to which it is filled up: the fewest, the last as small as it may be."""
    groups = [rows[start : start + sizes[-1]] for start in range(0, len(rows), sizes[-1])]
    return [(group, next(size for size in sizes if size >= len(group))) for group in groups]


def _agree(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether the rows that two results have in common are the same to the bit."""
    common = min(len(first[0]), len(second[0]))
    return all(torch.equal(a[:common], b[:common]) for a, b in zip(first, second, strict=True))
