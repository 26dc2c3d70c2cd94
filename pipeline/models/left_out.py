"""Tokens that are left out: read by the model and shown, but neither counted nor attributed to nor ablated at.

    the opening token   at position 0: BOS, which is of no text, or of a model without BOS the text's own first token,
                        at which such models put an attention sink
    padding             after the end of a sequence in a batch
    the chat template   what it says around a text, whatever the text (`Tokenizer.chat`, `read_filled`); of a corpus of
                        conversations, all that the recipe does not count (`corpus.turns`)
    attention sinks     tokens whose residual stream is longer than a limit, which the harvest measures once

The first three are known before the model runs: what is left of them is a text's own (`own_of_prompt`, `own_of_batch`).
Steering leaves out the opening token and sinks alone: a feature is held on all that a chat model reads.

Shapes: B sequences of a batch, L positions (the opening one included), N rows, D width; [...] any of [N], [L], [B, L].
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

OPENING = 0
"""Position of the opening token."""


def row_norms(x: Tensor) -> Tensor:
    """Euclidean norms [...] of rows [..., D], in float32."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=-1, dtype=torch.float32)
    return norms


def measure_sink_norm(norms_N: Tensor, factor: float) -> float:
    """The norm above which a token is a sink, from norms of tokens that are neither opening ones nor padding."""
    return factor * float(norms_N.median())


def are_sinks(x: Tensor, sink_norm: float | None) -> Tensor:
    """Mask of the rows [..., D] that are attention sinks: bool [...]. None knows no sinks."""
    if sink_norm is None:
        return torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device)
    return row_norms(x) > sink_norm


def left_out(x: Tensor, own: Tensor, sink_norm: float | None) -> Tensor:
    """Mask of the positions of a residual stream [..., D] that are left out: bool [...].

    own: bool [...], the positions of the text's own tokens.
    """
    return are_sinks(x, sink_norm) | ~own.to(x.device)


def own_of_prompt(num_tokens: int, own: Sequence[int] | None = None) -> Tensor:
    """Positions of a text's own tokens in a prompt: bool [L]. None: all but the opening one."""
    own_L = torch.zeros(num_tokens, dtype=torch.bool)
    own_L[torch.tensor(range(OPENING + 1, num_tokens) if own is None else own, dtype=torch.long)] = True
    return own_L


def own_of_batch(lengths_B: npt.NDArray[np.int64], num_positions: int) -> npt.NDArray[np.bool_]:
    """Positions of the sequences' own tokens in a padded batch: bool [B, L]. `lengths_B`: without the opening one."""
    place_1L = np.arange(num_positions)[None, :]
    own_BL: npt.NDArray[np.bool_] = (place_1L > OPENING) & (place_1L <= lengths_B[:, None])
    return own_BL
