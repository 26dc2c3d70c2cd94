"""Batches for a language model: sequences of like length together, padded on the right, one opening token before each.

Shapes: S sequences, B sequences of a batch, L positions of a batch (the opening one included), N rows (tokens that
count, and so are neither opening nor padding), D width.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.shards import ROW
from pipeline.models.left_out import OPENING, own_of_batch

MAX_PADDING = 0.05
"""Largest share of a batch that is padding."""


class Batch(NamedTuple):
    """The sequences that a language model reads at once, and the names of the rows that come out of it."""

    tokens_BL: npt.NDArray[np.int64]
    """The opening token, the sequence, then padding, which no token of the sequence can see."""
    lengths_B: npt.NDArray[np.int64]
    """Tokens of each sequence, without the opening one."""
    own_BL: npt.NDArray[np.bool_]
    """Positions of the tokens that count."""
    index_N: np.ndarray
    """Of dtype ROW, one sequence after the other: the tokens that count."""


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
    """Tokens that count, and positions that the model runs (opening ones and padding included)."""
    lengths = [corpus.sequences["length"][numbers] for numbers in batches]
    tokens = sum(count_tokens(corpus, numbers) for numbers in batches)
    return tokens, sum(len(part) * (1 + int(part.max())) for part in lengths)


def count_tokens(corpus: TokenizedCorpus, numbers: npt.NDArray[np.int64]) -> int:
    """Tokens that count in the sequences with these numbers."""
    chosen = corpus.sequences[numbers]
    if corpus.roles is None:
        return int(chosen["length"].sum(dtype=np.int64))
    return sum(int(corpus.counted(sequence).sum()) for sequence in chosen.tolist())


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
    tokens_BL = pad([corpus.opened(sequence, bos_id) for sequence in chosen.tolist()])
    own_BL = own_positions(chosen, tokens_BL.shape[1], corpus.counted if corpus.roles is not None else None)
    row_N, place_N = np.nonzero(own_BL)
    index_N = np.empty(len(row_N), ROW)
    index_N["document_id"] = corpus.document_ids[chosen["document"]][row_N]
    index_N["sequence"] = numbers[row_N]
    index_N["position"] = chosen["start"][row_N] + place_N - 1
    return Batch(tokens_BL, chosen["length"].astype(np.int64), own_BL, index_N)


Counted = Callable[[tuple[int, int, int]], npt.NDArray[np.bool_]]
"""From a stretch of SEQUENCE to which of its tokens count [length]."""


def own_positions(
    sequences_B: npt.NDArray[np.void], num_positions: int, counted: Counted | None
) -> npt.NDArray[np.bool_]:
    """Positions of the tokens that count in a padded batch of SEQUENCE: bool [B, L]. counted: None where all do."""
    own_BL = own_of_batch(sequences_B["length"].astype(np.int64), num_positions)
    if counted is not None:
        for row, sequence in enumerate(sequences_B.tolist()):
            own_BL[row, OPENING + 1 : OPENING + 1 + sequence[2]] = counted(sequence)
    return own_BL


def rows_of(x_BLD: Tensor, own_BL: npt.NDArray[np.bool_]) -> Tensor:
    """The rows [N, D] of a batch's residual stream, in the order of `Batch.index_N`."""
    return x_BLD.flatten(0, 1)[np.flatnonzero(own_BL)]
