"""The neurons' own examples: for every neuron of a pass the tokens at which it is highest, and lowest, with windows.

A neuron that is gated goes far above zero and far below, and a feature may go with either: r says with which. Which
neurons are anybody's best is known only when all tokens were read, so the examples of all neurons are kept while they
are: one reading of the model is enough, and a kept example costs its window in the model's dtype.

Shapes: L tokens of a sequence, A chunks of it, B tokens of a chunk, M neurons of a pass, E examples of each, W tokens
of a window, C neurons that take in a new example, N neurons asked for.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.neurons.threads import run_side_by_side

HIGHEST, LOWEST = 0, 1
"""Ends of a neuron's range."""
NO_DOCUMENT = -1
CHUNK = 32
"""Tokens of a sequence whose peak is sought together."""
NEURONS_AT_ONCE = 4096


class NeuronSequence(NamedTuple):
    """The neurons of a pass on one sequence."""

    document: int
    """Its row in the corpus's documents."""
    number: int
    """Of the sequence in the corpus."""
    position_L: Tensor
    """Of the tokens in their document, ascending; tokens that are left out are not among them."""
    neurons_LM: Tensor


class Found(NamedTuple):
    """Examples of the neurons asked for, the strongest first; those that there are not have no document."""

    value_NE: Tensor
    document_NE: Tensor
    sequence_NE: Tensor
    position_NE: Tensor
    window_NEW: Tensor
    """From the position less the context on; 0 where there is no token, or one that is left out."""


class NeuronExamples:
    """The strongest examples of both ends of every neuron, at most one of each document."""

    def __init__(
        self, num_neurons: int, examples: int, context: int, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        self._context = context
        self._seen: set[int] = set()
        """Documents of which a sequence was taken in."""
        shape = (2, num_neurons, examples)
        self._value = torch.zeros(shape, device=device)
        """Less than any that is kept: an activation has the sign of its end."""
        self._document, self._sequence = torch.full((2, *shape), NO_DOCUMENT, dtype=torch.int32, device=device)
        self._position = torch.zeros(shape, dtype=torch.int32, device=device)
        self._window = torch.zeros((*shape, 2 * context + 1), dtype=dtype, device=device)

    def add(self, sequence: NeuronSequence) -> None:
        """Take in a sequence."""
        places, num_neurons = self._places(sequence.position_L), sequence.neurons_LM.shape[1]
        some = [slice(start, start + NEURONS_AT_ONCE) for start in range(0, num_neurons, NEURONS_AT_ONCE)]
        pieces = (partial(self._add, end, one, sequence, places) for one in some for end in (HIGHEST, LOWEST))
        run_side_by_side(pieces, self._value.device.type)
        self._seen.add(sequence.document)

    def _places(self, position_L: Tensor) -> Tensor:
        """For every position from the first less the context on, the place of its token, or -1."""
        first, last = int(position_L[0]), int(position_L[-1])
        places = torch.full((last - first + 1 + 2 * self._context,), -1, device=position_L.device)
        places[position_L - first + self._context] = torch.arange(len(position_L), device=position_L.device)
        return places

    def _add(self, end: int, some: slice, sequence: NeuronSequence, places: Tensor) -> None:
        """Take in a sequence at one end of some neurons, of which M are meant here."""
        neurons_LM = sequence.neurons_LM[:, some]
        value_ME, document_ME = self._value[end, some], self._document[end, some]
        chunks_AM = _chunk_peaks(neurons_LM, end)
        peak_M = chunks_AM.amax(0).float()
        neuron_C = (peak_M > self._least(value_ME, document_ME, sequence.document)).nonzero()[:, 0]
        if len(neuron_C) == 0:
            return
        same_CE = document_ME[neuron_C] == sequence.document
        slot_C = torch.where(same_CE.any(1), same_CE.int().argmax(1), value_ME[neuron_C].argmin(1))
        at_C = _peak_places(neurons_LM, chunks_AM, neuron_C, end)
        position_C = sequence.position_L[at_C]
        around_W = torch.arange(2 * self._context + 1, device=at_C.device)
        place_CW = places[(position_C - sequence.position_L[0])[:, None] + around_W]
        window_CW = neurons_LM[place_CW.clamp(min=0), neuron_C[:, None]]
        value_ME[neuron_C, slot_C] = peak_M[neuron_C]
        document_ME[neuron_C, slot_C] = sequence.document
        self._sequence[end, some][neuron_C, slot_C] = sequence.number
        self._position[end, some][neuron_C, slot_C] = position_C.int()
        self._window[end, some][neuron_C, slot_C] = window_CW.masked_fill_(place_CW < 0, 0)

    def _least(self, value_ME: Tensor, document_ME: Tensor, document: int) -> Tensor:
        """The value that a new example must exceed [M].

        A document's example gives way to a stronger one of it alone, the weakest of all to one of another document.
        """
        weakest_M = value_ME.amin(1)
        if document not in self._seen:
            return weakest_M
        own_M = value_ME.masked_fill(document_ME != document, -1).amax(1)
        return torch.where(own_M >= 0, own_M, weakest_M)

    def of(self, neuron_N: Tensor, end_N: Tensor) -> Found:
        """The examples of some neurons of the pass, each at one end."""
        neuron_N, end_N = neuron_N.to(self._value.device), end_N.to(self._value.device)
        value_NE = self._value[end_N, neuron_N]
        order_NE = value_NE.argsort(dim=1, descending=True, stable=True)
        document_NE, sequence_NE, position_NE = (
            column[end_N, neuron_N].gather(1, order_NE) for column in (self._document, self._sequence, self._position)
        )
        rows = torch.arange(len(neuron_N), device=order_NE.device)[:, None]
        sign_N = torch.where(end_N == HIGHEST, 1.0, -1.0)
        return Found(
            value_NE.gather(1, order_NE) * sign_N[:, None],
            document_NE,
            sequence_NE,
            position_NE,
            self._window[end_N, neuron_N][rows, order_NE],
        )


def _chunk_peaks(neurons_LM: Tensor, end: int) -> Tensor:
    """How far every neuron goes toward an end of its range in each chunk of CHUNK tokens [A, M]."""
    whole = len(neurons_LM) // CHUNK * CHUNK
    parts = [neurons_LM[:whole].view(-1, CHUNK, neurons_LM.shape[1])]
    if whole < len(neurons_LM):
        parts.append(neurons_LM[None, whole:])
    return torch.cat([part.amax(1) if end == HIGHEST else -part.amin(1) for part in parts])


def _peak_places(neurons_LM: Tensor, chunks_AM: Tensor, neuron_C: Tensor, end: int) -> Tensor:
    """The token of each neuron's peak [C]. To look in one chunk alone spares reading most of the sequence again."""
    chunk_C = chunks_AM[:, neuron_C].argmax(0)
    token_BC = torch.arange(CHUNK, device=chunk_C.device)[:, None] + CHUNK * chunk_C
    inside_BC = neurons_LM[token_BC.clamp(max=len(neurons_LM) - 1), neuron_C]
    return CHUNK * chunk_C + (inside_BC.argmax(0) if end == HIGHEST else inside_BC.argmin(0))
