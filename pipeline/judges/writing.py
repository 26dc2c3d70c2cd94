"""Short texts that a chat model writes, several together: the likeliest token every time.

Shapes: B texts, L tokens of the longest, T all tokens so far, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits [B, V] of what comes next. It takes tokens [B, L], which of all so far are no padding [B, T], and the
positions of the new ones [B, L]."""


def write_likeliest(
    step: Step, num_shared: int, rests: Sequence[Sequence[int]], max_tokens: int, is_done: Callable[[list[int]], bool]
) -> list[list[int]]:
    """What a model writes after each text, without the token that ends it.

    step: of a model that has read the `num_shared` tokens that all texts begin with; rests: what follows in each;
    is_done: whether a text that was written is over, its last token being one too many.
    """
    tokens_BL, mask_BT = _padded_left(rests)
    mask_BT = torch.cat([torch.ones(len(rests), num_shared, dtype=torch.long), mask_BT], 1)
    position_BL = (mask_BT.cumsum(1) - 1)[:, num_shared:].clamp(min=0)
    written: list[list[int]] = [[] for _ in rests]
    going = set(range(len(rests)))
    for _ in range(max_tokens):
        next_B = step(tokens_BL, mask_BT, position_BL).argmax(1).cpu()
        for row in sorted(going):
            if is_done([*written[row], int(next_B[row])]):
                going.discard(row)
            else:
                written[row].append(int(next_B[row]))
        if not going:
            break
        tokens_BL, position_BL = next_B[:, None], mask_BT.sum(1, keepdim=True)
        mask_BT = torch.cat([mask_BT, torch.ones(len(rests), 1, dtype=torch.long)], 1)
    return written


def _padded_left(rests: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Tokens [B, L] with padding before the shorter texts, and where tokens are."""
    length = max(map(len, rests))
    tokens_BL = torch.zeros(len(rests), length, dtype=torch.long)
    mask_BL = torch.zeros(len(rests), length, dtype=torch.long)
    for row, rest in enumerate(rests):
        tokens_BL[row, length - len(rest) :] = torch.tensor(rest)
        mask_BL[row, length - len(rest) :] = 1
    return tokens_BL, mask_BL
