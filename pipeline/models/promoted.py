"""Tokens that a feature promotes and suppresses: its decoder direction read by the unembedding.

logits_FV = (W_dec_FD * norm_scale_D) @ W_U_VD^T: what a step along the feature adds to the logits when nothing comes
between and the final norm's division is left out (the direct path; nostalgebraist's logit lens).

Shapes: F features, D width, V vocabulary, T features of a tile, G groups of GROUP tokens, K tokens kept.
"""

from typing import NamedTuple

import torch
from torch import Tensor

PROMOTED_TILE_FEATURES = 512
GROUP = 128


class Promoted(NamedTuple):
    """Token ids and logits [F, K], the strongest first."""

    token_FK: Tensor
    logit_FK: Tensor


def promoted_tokens(W_dec_FD: Tensor, norm_scale_D: Tensor, W_U_VD: Tensor, k: int) -> tuple[Promoted, Promoted]:
    """The `k` most promoted and most suppressed tokens of every feature; float32, exact."""
    W_U_VD = W_U_VD.float()
    parts: tuple[list[tuple[Tensor, Tensor]], ...] = ([], [])
    for start in range(0, len(W_dec_FD), PROMOTED_TILE_FEATURES):
        directions_TD = W_dec_FD[start : start + PROMOTED_TILE_FEATURES].float() * norm_scale_D.float()
        logits_TV = directions_TD @ W_U_VD.T
        parts[0].append(highest(logits_TV, k))
        tokens_TK, negative_TK = highest(logits_TV.neg_(), k)
        parts[1].append((tokens_TK, -negative_TK))
    promoted, suppressed = (Promoted(*(torch.cat(column).cpu() for column in zip(*p, strict=True))) for p in parts)
    return promoted, suppressed


def highest(logits_TV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Ids and values [T, k] of the k highest, sought in the k groups of tokens with the highest maxima: one reading."""
    T, V = logits_TV.shape
    k = min(k, V)
    if 2 * k * GROUP > V:
        values_TK, ids_TK = logits_TV.topk(k, dim=1)
        return ids_TK, values_TK
    even = V // GROUP * GROUP
    highest_TG = logits_TV[:, :even].reshape(T, -1, GROUP).amax(2)
    groups_TK = highest_TG.topk(k, dim=1).indices
    inside = torch.arange(GROUP, device=logits_TV.device)
    ids_TN = (groups_TK[:, :, None] * GROUP + inside).flatten(1)
    rest = torch.arange(even, V, device=logits_TV.device).expand(T, -1)
    ids_TN = torch.cat([ids_TN, rest], dim=1)
    values_TK, places_TK = logits_TV.gather(1, ids_TN).topk(k, dim=1)
    return ids_TN.gather(1, places_TK), values_TK
