"""The residual stream and the MLP neurons of training sequences, batch by batch, read by the model together.

Shapes: N rows (tokens that are neither BOS nor padding nor attention sinks), P of these and attention sinks, D width,
M neurons of a pass, S sequences.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from pipeline.activations.batches import plan_batches, read_batch
from pipeline.arrays import Ints
from pipeline.models.errors import ModelError
from pipeline.models.language_model import LanguageModel
from pipeline.models.left_out import are_sinks
from pipeline.neurons.block import NeuronBlock


class NeuronPlaces(Protocol):
    """The neurons that are read."""

    def __len__(self) -> int: ...

    def in_layer(self, layer: int, per_layer: int) -> tuple[slice | Tensor, slice] | None:
        """Those of one layer: places in that layer, and among all that are read; None where there are none."""
        ...


def neurons_obstacle(model: LanguageModel) -> str:
    """The reason why a model has no MLP neurons that can be read up to the hook; "" when it has."""
    try:
        model.neurons_per_layer()
    except ModelError as error:
        return f"The model has no MLP neurons that can be read: {error}."
    return ""


def batches_of(corpus: TokenizedCorpus, numbers_S: Ints, batch_tokens: int) -> list[Ints]:
    """Numbers of the sequences of every batch."""
    return [numbers_S[batch] for batch in plan_batches(corpus.sequences["length"][numbers_S], batch_tokens)]


def count_positions(corpus: TokenizedCorpus, batches: list[Ints]) -> int:
    """Tokens of the largest batch, BOS and padding included."""
    return max((len(batch) * (1 + int(corpus.sequences["length"][batch].max())) for batch in batches), default=0)


def neuron_blocks(
    model: LanguageModel,
    corpus: TokenizedCorpus,
    batches: list[Ints],
    neurons: NeuronPlaces,
    *,
    bos_id: int,
    sink_norm: float,
) -> Iterator[NeuronBlock]:
    """One block for each batch of sequence numbers."""
    per_layer = model.neurons_per_layer()
    for numbers in batches:
        batch = read_batch(corpus, numbers, bos_id)
        own_P = torch.from_numpy(np.flatnonzero(batch.own_BL))
        own_P = own_P.to(model.device)
        neurons_PM = torch.empty(len(own_P), len(neurons), dtype=model.dtype, device=model.device)

        def take(layer: int, layer_BLM: Tensor, own_P: Tensor = own_P, into_PM: Tensor = neurons_PM) -> None:
            if places := neurons.in_layer(layer, per_layer):
                in_layer, in_range = places
                into_PM[:, in_range] = layer_BLM.flatten(0, 1)[:, in_layer].index_select(0, own_P)

        x_BLD = model.residuals_and_neurons(torch.from_numpy(batch.tokens_BL), take)
        x_PD = x_BLD.flatten(0, 1)[own_P]
        row_N = (~are_sinks(x_PD, sink_norm)).nonzero()[:, 0]
        x_ND = x_PD[row_N] if len(row_N) < len(x_PD) else x_PD
        rows = row_N.cpu().numpy()
        yield NeuronBlock(x_ND, neurons_PM, rows, batch.index_N[rows])
