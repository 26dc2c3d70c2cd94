"""Batches for a language model: sequences of like length together, padded on the right, one opening token before each.

Shapes: S sequences, B sequences of a batch, L positions of a batch (the opening one included), N rows (tokens that are
neither opening nor padding), D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.shards import ROW
from pipeline.models.left_out import own_of_batch

MAX_PADDING = 0.05
"""Largest share of a batch that is padding."""


class Batch(NamedTuple):
    """The sequences that a language model reads at once, and the names of the rows that come out of it."""

    tokens_BL: npt.NDArray[np.int64]
    """The opening token, the sequence, then padding, which no token of the sequence can see."""
    lengths_B: npt.NDArray[np.int64]
    """Tokens of each sequence, without the opening one."""
    index_N: np.ndarray
    """Of dtype ROW, one sequence after the other."""


def plan_batches(lengths_S: npt.NDArray[np.int64], batch_tokens: int) -> list[npt.NDArray[np.int64]]:
    """Cut sequences into batches; each item holds the numbers (in `lengths_S`) of one batch's sequences.

    A batch has at most `batch_tokens` positions, padding and openings included, unless it is a single longer sequence;
    at most MAX_PADDING of it is padding. Batches come in an order that does not follow length, always the same for the
    same input, so that any first part of them is a fair sample of the corpus.
    """
    order_S = np.argsort(-np.asarray(lengths_S), kind="stable")
    width_S = np.asarray(lengths_S)[order_S] + 1
    total_S = np.concatenate([[0], np.cumsum(width_S)])
    cuts = [0]
    while cuts[-1] < len(order_S):
        start = cuts[-1]
        room = max(1, batch_tokens // int(width_S[start]))
        filled = total_S[start + 1 : start + room + 1] - total_S[start]
        positions = width_S[start] * np.arange(1, len(filled) + 1)
        cuts.append(start + int(np.count_nonzero(filled >= (1 - MAX_PADDING) * positions)))
    batches = np.split(order_S, cuts[1:-1]) if len(order_S) else []
    return [batches[number] for number in np.random.default_rng(len(batches)).permutation(len(batches))]


def training_batches(corpus: TokenizedCorpus, batch_tokens: int) -> list[npt.NDArray[np.int64]]:
    """Sequence numbers of every batch of the training documents, in harvest order."""
    numbers_S = corpus.sequence_numbers(held_out=False)
    return [numbers_S[batch] for batch in plan_batches(corpus.sequences["length"][numbers_S], batch_tokens)]


def draw_sequences(
    corpus: TokenizedCorpus, numbers_S: npt.NDArray[np.int64], max_tokens: int, seed: int
) -> npt.NDArray[np.int64]:
    """Random ones of some sequences, of at most `max_tokens` tokens unless the first alone has more; ascending."""
    shuffled_S = np.random.default_rng(seed).permutation(numbers_S)
    reached_S = np.cumsum(corpus.sequences["length"][shuffled_S], dtype=np.int64)
    return np.sort(shuffled_S[: max(1, int(np.searchsorted(reached_S, max_tokens, side="right")))])


def count_batches(corpus: TokenizedCorpus, batches: list[npt.NDArray[np.int64]]) -> tuple[int, int]:
    """Tokens without the opening ones, and positions that the model runs (these and padding included)."""
    lengths = [corpus.sequences["length"][numbers] for numbers in batches]
    return sum(int(part.sum()) for part in lengths), sum(len(part) * (1 + int(part.max())) for part in lengths)


def pad(opened: Sequence[Sequence[int] | npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Sequences, each with its opening token, padded with that up to the longest [B, L]."""
    tokens_BL = np.empty((len(opened), max(map(len, opened))), np.int64)
    for row, tokens in enumerate(opened):
        tokens_BL[row] = tokens[0]
        tokens_BL[row, : len(tokens)] = tokens
    return tokens_BL


def read_batch(corpus: TokenizedCorpus, numbers: npt.NDArray[np.int64], bos_id: int | None) -> Batch:
    """The batch of the sequences with these numbers."""
    chosen = corpus.sequences[numbers]
    lengths_B = chosen["length"].astype(np.int64)
    first_B = np.cumsum(lengths_B) - lengths_B
    index_N = np.empty(int(lengths_B.sum()), ROW)
    index_N["document_id"] = np.repeat(corpus.document_ids[chosen["document"]], lengths_B)
    index_N["sequence"] = np.repeat(numbers, lengths_B)
    index_N["position"] = np.arange(len(index_N)) + np.repeat(chosen["start"] - first_B, lengths_B)
    return Batch(pad([corpus.opened(sequence, bos_id) for sequence in chosen.tolist()]), lengths_B, index_N)


def rows_of(x_BLD: Tensor, lengths_B: npt.NDArray[np.int64]) -> Tensor:
    """The rows [N, D] of a batch's residual stream, in the order of `Batch.index_N`."""
    return x_BLD.flatten(0, 1)[np.flatnonzero(own_of_batch(lengths_B, x_BLD.shape[1]))]
