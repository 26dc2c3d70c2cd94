"""The text on which features and neurons are compared: the residual stream and some neurons, kept in memory.

Memory: (D + U) values of the model's dtype for each token. Shapes: N tokens, D width, U neurons, S sequences.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from pipeline.activations.neurons import batches_of, neuron_blocks
from pipeline.arrays import Ints, pack_tokens
from pipeline.models.language_model import LanguageModel
from pipeline.progress import track

BLOCK_TOKENS = 4096


class ChosenNeurons:
    """Some neurons of the model, by their numbers over all layers: layer * neurons per layer + number there."""

    def __init__(self, number_U: Ints, device: torch.device) -> None:
        """number_U: ascending."""
        self._number_U, self._device = number_U, device

    def __len__(self) -> int:
        return len(self._number_U)

    def in_layer(self, layer: int, per_layer: int) -> tuple[Tensor, slice] | None:
        """Those of one layer: places in that layer, and among all of them; None where there are none."""
        low, high = np.searchsorted(self._number_U, [layer * per_layer, (layer + 1) * per_layer]).tolist()
        if low == high:
            return None
        return torch.from_numpy(self._number_U[low:high] - layer * per_layer).to(self._device), slice(low, high)


@dataclass(frozen=True)
class ReadText:
    """Whole sequences, token by token; attention sinks are left out."""

    x_ND: Tensor
    neurons_NU: Tensor
    token_N: Ints
    """See pack_tokens: ascending within each sequence."""

    @property
    def num_tokens(self) -> int:
        return len(self.token_N)

    def slices(self) -> Iterator[slice]:
        """The rows, whole sequences of at most BLOCK_TOKENS tokens at a time, unless one alone has more."""
        ends = np.append(np.flatnonzero(np.diff(self.token_N >> 32)) + 1, len(self.token_N)).tolist()
        start = stop = 0
        for end in ends:
            if stop > start and end - start > BLOCK_TOKENS:
                yield slice(start, stop)
                start = stop
            stop = end
        if stop > start:
            yield slice(start, stop)

    def rows(self, token_K: Ints) -> Ints:
        """The rows of some tokens; -1 for those that were left out [K]."""
        order_N = self._order_N
        place_K = np.minimum(np.searchsorted(self.token_N, token_K, sorter=order_N), len(order_N) - 1)
        row_K = order_N[place_K]
        found: Ints = np.where(self.token_N[row_K] == token_K, row_K, -1)
        return found

    @cached_property
    def _order_N(self) -> Ints:
        return np.argsort(self.token_N)


def read_text(
    model: LanguageModel,
    corpus: TokenizedCorpus,
    numbers_S: Ints,
    neurons: ChosenNeurons,
    *,
    title: str,
    bos_id: int,
    sink_norm: float,
    batch_tokens: int,
) -> ReadText:
    """Run the model over some sequences."""
    batches = batches_of(corpus, numbers_S, batch_tokens)
    read = []
    with track(title, int(corpus.sequences["length"][numbers_S].sum())) as progress:
        for block in neuron_blocks(model, corpus, batches, neurons, bos_id=bos_id, sink_norm=sink_norm):
            token_N = pack_tokens(block.index_N["sequence"], block.index_N["position"])
            read.append((block.x_ND, block.neurons_of(slice(None)), token_N))
            progress.advance(len(block.index_N))
    xs, units, tokens = zip(*read, strict=True)
    return ReadText(torch.cat(xs), torch.cat(units), np.concatenate(tokens))
