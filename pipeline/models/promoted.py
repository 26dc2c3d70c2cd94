"""Tokens that a feature promotes and suppresses: its decoder direction read by the unembedding.

logits_FV = (W_dec_FD * norm_scale_D) @ W_U_VD^T: what a step along the feature adds to the logits when nothing comes
between and the final norm's division is left out (the direct path; nostalgebraist's logit lens).

On CPUs with products in bfloat16 the tokens that can be among the first are sought in these, which takes half as long,
and their logits computed in float32: what rounding can move a product by is known, so that none is missed. It grows
with the longest row of the unembedding, so the tokens of the few longest are not sought: their logits are computed for
every feature.

Shapes: F features, D width, V vocabulary, T features of a tile, G groups of tokens, K tokens kept, U tokens that can be
among the first of some features, P pairs of a feature and a group, L tokens with the longest rows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.models.onednn import product_dtype
from pipeline.models.rounding import RoundedRows, flat_nonzero, round_down, slack_of

PROMOTED_TILE_FEATURES = 256
GROUP = 128
SEARCH_GROUP = 32
"""Tokens of a group where they are sought in a lower precision."""
MOST_GROUPS = 20
"""Groups, for each token kept, in which the first of a feature are sought at most: else it is read in float32."""
LONG_ROWS = 64
"""Tokens whose logits are computed for every feature."""
FEATURES_AT_ONCE = 16
"""Features whose logits are computed together, for all tokens that can be among the first of any."""

Found = tuple[Tensor, Tensor]
"""Token ids and logits [T, K], the strongest first."""


class Promoted(NamedTuple):
    """Token ids and logits [F, K], the strongest first."""

    token_FK: Tensor
    logit_FK: Tensor


def promoted_tokens(W_dec_FD: Tensor, norm_scale_D: Tensor, W_U_VD: Tensor, k: int) -> tuple[Promoted, Promoted]:
    """The `k` most promoted and most suppressed tokens of every feature; float32, exact."""
    dtype = _search_dtype(W_U_VD, k)
    vocabulary = RoundedRows.of(W_U_VD, dtype)
    if not vocabulary.norm_N.isfinite().all():  # no bound on products holds
        dtype = torch.float32
    searched = _Searched.of(vocabulary)
    parts: tuple[list[Found], list[Found]] = ([], [])
    for start in range(0, len(W_dec_FD), PROMOTED_TILE_FEATURES):
        directions_TD = W_dec_FD[start : start + PROMOTED_TILE_FEATURES].float() * norm_scale_D.float()
        if dtype == torch.float32:
            found = _read_all(directions_TD, vocabulary.exact_ND, k)
        else:
            found = _search(directions_TD, searched, k)
        for part, tokens in zip(parts, found, strict=True):
            part.append(tokens)
    promoted, suppressed = (Promoted(*(torch.cat(column).cpu() for column in zip(*p, strict=True))) for p in parts)
    return promoted, suppressed


def highest(logits_TV: Tensor, k: int) -> Found:
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


def _search_dtype(W_U_VD: Tensor, k: int) -> torch.dtype:
    """bfloat16 where a search in it saves time: on a CPU that is fast at it, and with tokens enough to seek among."""
    saves = W_U_VD.device.type == "cpu" and 2 * k * SEARCH_GROUP <= len(W_U_VD)
    return product_dtype(torch.bfloat16, W_U_VD.device) if saves else torch.float32


def _read_all(directions_TD: Tensor, W_U_VD: Tensor, k: int) -> tuple[Found, Found]:
    """The most promoted and most suppressed tokens, from all logits."""
    logits_TV = directions_TD @ W_U_VD.T
    first = highest(logits_TV, k)
    tokens_TK, negative_TK = highest(logits_TV.neg_(), k)
    return first, (tokens_TK, -negative_TK)


class _Searched(NamedTuple):
    """An unembedding, and the tokens that are not sought in it."""

    vocabulary: RoundedRows
    """Its norms and errors are 0 at these tokens, so that they bound the others alone."""
    long_L: Tensor

    @classmethod
    def of(cls, vocabulary: RoundedRows) -> "_Searched":
        norm_V, error_V = vocabulary.norm_N, vocabulary.error_N
        long_L = norm_V.topk(min(LONG_ROWS, len(norm_V))).indices
        rest = vocabulary._replace(norm_N=norm_V.index_fill(0, long_L, 0), error_N=error_V.index_fill(0, long_L, 0))
        return cls(rest, long_L)


def _search(directions_TD: Tensor, searched: _Searched, k: int) -> tuple[Found, Found]:
    """The same tokens, from the logits of those that can be among them."""
    vocabulary = searched.vocabulary
    block = RoundedRows.of(directions_TD, vocabulary.rounded_ND.dtype)
    product_VT = torch.nn.functional.linear(vocabulary.rounded_ND, block.rounded_ND)
    slack_T = slack_of(block, vocabulary)
    sides = []
    for sign in (1, -1):
        product_VT[searched.long_L] = -sign * torch.inf
        sides.append(_candidates(product_VT, sign, slack_T, k))
    parts = [_read_some(directions_TD, searched, rows, sides, k) for rows in _chunks(len(directions_TD))]
    found = [[torch.cat(column) for column in zip(*side, strict=True)] for side in zip(*parts, strict=True)]
    crowded = torch.nonzero(sides[0].crowded_T | sides[1].crowded_T).view(-1)
    if len(crowded):
        for side, exact in zip(found, _read_all(directions_TD[crowded], vocabulary.exact_ND, k), strict=True):
            for column, values in zip(side, exact, strict=True):
                column[crowded] = values
    (most, most_logits), (least, least_logits) = found
    return (most, most_logits), (least, least_logits)


class _Candidates(NamedTuple):
    """Tokens that can be among the first of each feature of a tile."""

    token_C: Tensor
    starts_T: list[int]
    """Where those of each feature begin, and of one more [T + 1]."""
    crowded_T: Tensor
    """Features with too many of them, whose tokens are not here."""


def _candidates(product_VT: Tensor, sign: int, slack_T: Tensor, k: int) -> _Candidates:
    """The tokens whose product, times a sign, may be among the k highest in float32, of those that are sought.

    k groups have a maximum of at least `kth_T`: before that was rounded, at least the number below it; in float32, at
    least that less the slack, and so are the k highest.
    """
    V, T = product_VT.shape
    maxima_GT = _maxima(product_VT, sign)
    kth_T = maxima_GT.T.topk(k, dim=1).values[:, -1]
    cut_T = round_down(round_down(kth_T, kth_T.dtype).float() - 2 * slack_T, kth_T.dtype)
    within_TG = (maxima_GT >= cut_T).T.contiguous()
    counts_T = within_TG.sum(dim=1)
    crowded_T = (counts_T < k) | (counts_T > MOST_GROUPS * k)  # fewer where a number is none
    within_TG[crowded_T] = False
    place_P = flat_nonzero(within_TG)
    row_P, group_P = place_P // len(maxima_GT), place_P % len(maxima_GT)
    ids_PN = group_P[:, None] * SEARCH_GROUP + torch.arange(SEARCH_GROUP)
    ids_PN.clamp_(max=V - 1)  # the last group may be shorter
    values_PN = product_VT.view(-1)[ids_PN * T + row_P[:, None]]
    place_C = flat_nonzero((values_PN if sign > 0 else -values_PN) >= cut_T[row_P, None])
    row_C = row_P[place_C // SEARCH_GROUP]
    starts_T = torch.nn.functional.pad(torch.bincount(row_C, minlength=T).cumsum(0), (1, 0)).tolist()
    return _Candidates(ids_PN.view(-1)[place_C], starts_T, crowded_T)


def _maxima(product_VT: Tensor, sign: int) -> Tensor:
    """The highest product, times a sign, of each group of tokens [G, T]."""
    even = len(product_VT) // SEARCH_GROUP * SEARCH_GROUP
    parts = [product_VT[:even].view(-1, SEARCH_GROUP, product_VT.shape[1])]
    if even < len(product_VT):
        parts.append(product_VT[None, even:])
    return torch.cat([part.amax(1) if sign > 0 else -part.amin(1) for part in parts])


def _read_some(
    directions_TD: Tensor, searched: _Searched, rows: slice, sides: list[_Candidates], k: int
) -> tuple[Found, Found]:
    """The most promoted and most suppressed tokens of some features among all their candidates and the longest rows."""
    tokens = [side.token_C[side.starts_T[rows.start] : side.starts_T[rows.stop]] for side in sides]
    token_U = torch.unique(torch.cat([*tokens, searched.long_L]))
    if len(token_U) < k:  # all of them are crowded, and found otherwise
        token_U = torch.arange(k)
    logits_TU = directions_TD[rows] @ searched.vocabulary.exact_ND[token_U].T
    most_TK, most_places_TK = logits_TU.topk(k, dim=1)
    least_TK, least_places_TK = logits_TU.topk(k, dim=1, largest=False)
    return (token_U[most_places_TK], most_TK), (token_U[least_places_TK], least_TK)


def _chunks(size: int) -> Iterator[slice]:
    """Slices of FEATURES_AT_ONCE features."""
    return (slice(start, min(start + FEATURES_AT_ONCE, size)) for start in range(0, size, FEATURES_AT_ONCE))
