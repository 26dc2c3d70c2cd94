"""Attention of the next token of several rows at once, each row as if it were alone, to the bit.

A row's keys are as many as it has, filled up to a multiple of PLACES, so that rows of nearly the same length are
computed together and none depends on the length of another. The products are made in float32, one for each head of each
row; that none of them depends on how many are made together is tried when a model is loaded.

Shapes: B rows, T places, H heads of keys and values, G heads of queries for each of them, E width of a head.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

PLACES = 32
TOGETHER = 32
"""Rows that are computed together, at most."""
TRIED_PLACES = (PLACES, 5 * PLACES)
TRIED_ROWS = (2, 7, TOGETHER)


def padded(length: int) -> int:
    """A number of tokens, filled up to a multiple of PLACES."""
    return -(-length // PLACES) * PLACES


def groups_by_places(lengths: Sequence[int], together: int) -> list[tuple[int, list[int]]]:
    """Places, and the numbers of up to `together` rows that have as many when they are filled up."""
    by_places: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        by_places.setdefault(padded(length), []).append(row)
    return [
        (places, rows[start : start + together])
        for places, rows in by_places.items()
        for start in range(0, len(rows), together)
    ]


def attend_next(
    query_BHGE: Tensor, keys_BHTE: Tensor, values_BHTE: Tensor, lengths: Sequence[int], scale: float
) -> Tensor:
    """What the next token of each row takes from those of its row [B, H, G, E].

    lengths: tokens of each row, the next included. Places behind them may hold any finite numbers.
    """
    B, H = query_BHGE.shape[:2]
    length_B111 = torch.tensor(lengths, device=query_BHGE.device).view(B, 1, 1, 1)
    is_behind_B11T = torch.arange(keys_BHTE.shape[2], device=query_BHGE.device) >= length_B111
    query, keys, values = (part.float().flatten(0, 1) for part in (query_BHGE, keys_BHTE, values_BHTE))
    scores_BHGT = torch.bmm(query, keys.transpose(1, 2)).mul_(scale).view(B, H, query_BHGE.shape[2], -1)
    shares_BHGT = torch.softmax(scores_BHGT.masked_fill_(is_behind_B11T, float("-inf")), -1)
    return torch.bmm(shares_BHGT.flatten(0, 1), values).view_as(query_BHGE).to(query_BHGE.dtype)


def rows_together(heads: int, groups: int, width: int, like: Tensor) -> int:
    """TOGETHER where each row gets the same bits among any number of rows at any place, else 1.

    like: of the dtype and device of the model's weights.
    """
    return TOGETHER if all(_is_steady(heads, groups, width, places, like) for places in TRIED_PLACES) else 1


def _is_steady(heads: int, groups: int, width: int, places: int, like: Tensor) -> bool:
    generator = torch.Generator().manual_seed(places)
    # In float32, where no difference is rounded away.
    query, keys, values = (
        torch.randn(TOGETHER, heads, length, width, generator=generator).to(like.device, like.dtype).float()
        for length in (groups, places, places)
    )
    lengths = [places - row % PLACES for row in range(TOGETHER)]

    def attend(some: slice) -> Tensor:
        return attend_next(query[some], keys[some], values[some], lengths[some], width**-0.5)

    alone = torch.cat([attend(slice(row, row + 1)) for row in range(TOGETHER)])
    starts = [(number, start) for number in TRIED_ROWS for start in (0, TOGETHER - number)]
    return all(
        torch.equal(attend(slice(start, start + number)), alone[start : start + number]) for number, start in starts
    )
