"""Effects of features on the next token, measured by exact ablation at some of their examples.

    change of token v by feature i = mean over its examples t of  p(v | with) - p(v | without)

"Without" is the text as it is with f_i(x_t) d_i taken out at t alone.

Shapes: B texts, L positions, M cases, U different tokens at which they are, D width, V vocabulary, N features of a
chunk, C cases of a chunk, K tokens kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Ints, pack_tokens
from pipeline.influence.effect_cases import Cases
from pipeline.models.attribution import MovedTokens, moved_tokens
from pipeline.models.effects import LaterLayers, Places
from pipeline.models.exact import ExactModel
from pipeline.models.promoted import highest
from pipeline.models.sae import SAE
from pipeline.progress import Progress

LOGITS_AT_ONCE = 1 << 25
"""Log-probabilities in memory at once."""
MOVED = 8
"""Next tokens kept of one example, as raised and as lowered."""


class Texts(NamedTuple):
    """The activations at the hook of some sequences, from their openings on."""

    sequence_B: Ints
    x_BLD: Tensor
    """In the model's dtype, padded on the right."""
    beside_BLD: Tensor | None = None
    """What stands beside them, see pipeline/models/hooks.py."""


class Ends(NamedTuple):
    """Inputs of the head at the cases: what the next token is read from. float32"""

    without_MD: Tensor
    with_UD: Tensor
    """The tokens as they are, each once."""
    token_M: Tensor
    """Number in `with_UD` of each case's token."""


class Effects(NamedTuple):
    """Features in a row, the first of which is `first`, and their cases."""

    first: int
    raised_NK: Tensor
    """Token ids, most raised first."""
    raised_change_NK: Tensor
    """Of the probability; 0 or more."""
    lowered_NK: Tensor
    lowered_change_NK: Tensor
    kl_C: Tensor
    """Of the prediction as it is from that without the feature, in nats."""
    raised_C: MovedTokens
    """At each case."""
    lowered_C: MovedTokens


@torch.no_grad()
def run_cases(
    layers: LaterLayers, saes: Sequence[SAE], cases: Cases, texts: Iterable[Texts], progress: Progress
) -> Ends:
    """Take every case through the layers after the hook, with its feature and without it.

    texts: all that cases stand in.
    """
    token_M, first_U = _tokens_of(cases)
    order_M = np.argsort(cases.sequence_M, kind="stable")
    sorted_M = cases.sequence_M[order_M]
    without_MD = with_UD = torch.empty(0)
    for text in texts:
        rows_C = np.concatenate([_between(order_M, sorted_M, number) for number in text.sequence_B.tolist()])
        token_T = np.unique(token_M[rows_C])
        found_TD, found_CD = _run(layers, saes, cases, text, first_U[token_T], rows_C)
        if len(with_UD) == 0:
            shape = found_CD.shape[1:]
            without_MD, with_UD = found_CD.new_empty(len(token_M), *shape), found_CD.new_empty(len(first_U), *shape)
        with_UD[torch.from_numpy(token_T)] = found_TD
        without_MD[torch.from_numpy(rows_C)] = found_CD
        progress.advance(len(rows_C))
    return Ends(without_MD, with_UD, torch.from_numpy(token_M))


def measure_effects(model: ExactModel, ends: Ends, feature_M: Ints, number: int) -> Iterator[Effects]:
    """The effects of all features, a chunk at a time. feature_M: of each case, from 0 up; number: tokens kept."""
    size = max(1, LOGITS_AT_ONCE // (3 * model.vocab_size))
    starts_N = np.flatnonzero(np.diff(feature_M, prepend=-1))
    cuts = np.unique(np.searchsorted(starts_N, np.arange(0, starts_N[-1] + 1, size)))
    for first, stop in zip(cuts.tolist(), [*cuts[1:].tolist(), len(starts_N)], strict=True):
        end = int(starts_N[stop]) if stop < len(starts_N) else len(feature_M)
        chunk = slice(int(starts_N[first]), end)
        yield _effects(model, ends, chunk, torch.from_numpy(feature_M[chunk]), number)


def _run(
    layers: LaterLayers, saes: Sequence[SAE], cases: Cases, text: Texts, plain_T: Ints, rows_C: Ints
) -> tuple[Tensor, Tensor]:
    """Inputs of the head at some tokens as they are, given by a case of each, and at some cases without the feature."""
    rows_N = np.concatenate([plain_T, rows_C])
    place_of = {number: place for place, number in enumerate(text.sequence_B.tolist())}
    text_N = np.array([place_of[number] for number in cases.sequence_M[rows_N].tolist()])
    order_N = np.argsort(text_N, kind="stable")
    device = text.x_BLD.device
    places = Places(*(torch.from_numpy(column[order_N]).to(device) for column in (text_N, cases.position_M[rows_N])))
    x_ND = text.x_BLD[places.text_C, places.position_C].float()
    ablated_N = torch.from_numpy(order_N >= len(plain_T)).to(device)
    ablated = cases.some(rows_N[order_N][order_N >= len(plain_T)])
    x_ND[ablated_N] -= _contributions(saes, ablated, x_ND[ablated_N].cpu()).to(device)
    found_ND = torch.empty_like(x_ND)
    found_ND[torch.from_numpy(order_N).to(device)] = layers.hidden(text.x_BLD, places, x_ND, text.beside_BLD)
    return found_ND[: len(plain_T)], found_ND[len(plain_T) :]


def _contributions(saes: Sequence[SAE], cases: Cases, x_CD: Tensor) -> Tensor:
    """f_i(x_t) d_i of every case [C, D], in the residual stream's own units."""
    found_CD = torch.empty(len(cases.sae_M), saes[0].W_dec_FD.shape[1])
    for number, sae in enumerate(saes):
        mine_C = torch.from_numpy(np.flatnonzero(cases.sae_M == number))
        index_C = torch.from_numpy(cases.index_M)[mine_C]
        activation_C = torch.from_numpy(cases.activation_M)[mine_C]
        length_C1 = activation_C[:, None] * sae.token_scale(x_CD[mine_C])
        found_CD[mine_C] = length_C1 * sae.W_dec_FD[index_C.to(sae.device)].cpu()
    return found_CD


def _effects(model: ExactModel, ends: Ends, chunk: slice, feature_C: Tensor, number: int) -> Effects:
    token_C, place_C = torch.unique(ends.token_M[chunk], return_inverse=True)
    place_C = place_C.to(ends.with_UD.device)
    with_CV = model.log_probabilities(ends.with_UD[token_C.to(ends.with_UD.device)])[place_C]
    without_CV = model.log_probabilities(ends.without_MD[chunk])
    raised, lowered = moved_tokens(with_CV, without_CV, MOVED)
    p_CV = with_CV.exp()
    kl_C = (p_CV * (with_CV - without_CV)).sum(1).clamp_min(0)
    first = int(feature_C[0])
    counts_N = torch.bincount(feature_C - first).to(p_CV.device)
    change_NV = p_CV.new_zeros(len(counts_N), p_CV.shape[1])
    change_NV.index_add_(0, (feature_C - first).to(p_CV.device), p_CV.sub_(without_CV.exp_()))
    change_NV /= counts_N[:, None]
    raised_NK, raised_change_NK = highest(change_NV, number)
    lowered_NK, lowered_change_NK = highest(change_NV.neg_(), number)
    return Effects(first, raised_NK, raised_change_NK, lowered_NK, lowered_change_NK.neg_(), kl_C, raised, lowered)


def _tokens_of(cases: Cases) -> tuple[Ints, Ints]:
    """Number of the token of each case [M], and a case of each token [U]."""
    packed_M = pack_tokens(cases.sequence_M, cases.position_M)
    _, first_U, token_M = np.unique(packed_M, return_index=True, return_inverse=True)
    return token_M.astype(np.int64), first_U.astype(np.int64)


def _between(order_M: Ints, sorted_M: Ints, number: int) -> Ints:
    """The cases of one sequence."""
    return order_M[np.searchsorted(sorted_M, number) : np.searchsorted(sorted_M, number, side="right")]
