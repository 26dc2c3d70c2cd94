"""The artifact of stage `neurons` as tables, see data/artifacts/neurons.py.

Shapes: F features of one SAE, R features correlated, of all SAEs together, C of them that are active on enough tokens,
K best neurons, S of them with examples, N neurons with examples at one end, E examples of each, M rows.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.neurons import HIGHEST_END, LOWEST_END, NEURON_EXAMPLES, NEURONS
from pipeline.arrays import Floats, Ints
from pipeline.neurons.examples import HIGHEST, LOWEST, NO_DOCUMENT, Found, NeuronExamples
from pipeline.neurons.passes import NeuronRange

Measured = tuple[NeuronRange, NeuronExamples]
"""The neurons of a pass, and their examples."""


class Correlated(NamedTuple):
    """What was measured of the features, in arrays of the CPU."""

    num_active_R: Ints
    enough_R: npt.NDArray[np.bool_]
    """Whether each was active on enough tokens."""
    neuron_RK: Ints
    """Over all layers."""
    r_RK: Floats

    @classmethod
    def nothing(cls) -> "Correlated":
        """Of no feature."""
        nothing = np.zeros(0, np.int64)
        return cls(nothing, nothing.astype(bool), nothing.reshape(0, 1), np.zeros((0, 1), np.float32))

    def some(self, rows: slice) -> "Correlated":
        """Some of the features."""
        return Correlated._make(column[rows] for column in self)


class ExampleRows(NamedTuple):
    """Examples of the neurons that have some, one after the other."""

    key_N: Ints
    """Neuron and end, see _keys; ascending."""
    first_N: Ints
    """Row of the first of each."""
    count_N: Ints

    def of(self, keys: Ints) -> tuple[Ints, Ints]:
        """Rows of the first, and numbers, of the examples of some neurons, all of which have their key here."""
        place = np.searchsorted(self.key_N, keys)
        return self.first_N[place], self.count_N[place]


def _keys(neuron_RK: Ints, r_RK: Floats) -> Ints:
    """One number for a neuron and the end of its range that r says."""
    return 2 * neuron_RK + np.where(r_RK < 0, LOWEST, HIGHEST)


def neurons_table(
    num_features: int, chosen: Ints, found: Correlated, per_layer: int, shown: int, examples: ExampleRows
) -> pa.Table:
    """NEURONS of one SAE. chosen: indices of the features that were correlated, ascending; found: theirs."""
    enough = chosen[found.enough_R]
    neuron_CK, r_CK = found.neuron_RK[found.enough_R], found.r_RK[found.enough_R]
    first_CS, count_CS = examples.of(_keys(neuron_CK, r_CK)[:, :shown])
    index_F = np.arange(num_features)

    def lists(values_CK: npt.NDArray[np.generic], type_: pa.DataType) -> pa.Array:
        lengths_F = np.zeros(num_features, np.int64)
        lengths_F[enough] = values_CK.shape[1]
        ends = pa.array(np.concatenate([[0], np.cumsum(lengths_F)]), pa.int32())
        return pa.ListArray.from_arrays(ends, pa.array(values_CK.reshape(-1), type_))

    def values(index: Ints, values_R: npt.NDArray[np.generic], type_: pa.DataType) -> pa.Array:
        whole_F = np.zeros(num_features, values_R.dtype)
        whole_F[index] = values_R
        return pa.array(whole_F, type_, mask=~np.isin(index_F, index))

    columns = {
        "index": pa.array(index_F, pa.int32()),
        "neuron_tokens": values(chosen, found.num_active_R, pa.int32()),
        "neuron_r": lists(r_CK, pa.float32()),
        "neuron_layer": lists(neuron_CK // per_layer, pa.int16()),
        "neuron": lists(neuron_CK % per_layer, pa.int32()),
        "first_neuron_example": lists(first_CS, pa.int64()),
        "num_neuron_examples": lists(count_CS, pa.int16()),
        "highest_r": values(enough, np.abs(r_CK[:, 0]), pa.float32()),
    }
    return pa.Table.from_arrays([columns[name] for name in NEURONS.names], schema=NEURONS)


def needed_neurons(found: Correlated, shown: int) -> Ints:
    """Keys of the neurons that are among the best `shown` of a feature, ascending."""
    return np.unique(_keys(found.neuron_RK, found.r_RK)[found.enough_R, :shown])


def example_rows(
    key_N: Ints, measured: Sequence[Measured], corpus: TokenizedCorpus, per_layer: int, context: int
) -> tuple[ExampleRows, Iterator[pa.RecordBatch]]:
    """The examples of the neurons with these keys, and the batches of NEURON_EXAMPLES that hold them."""
    neuron_N = key_N // 2
    counts, parts = [], []
    for neurons, examples in measured:
        rows = slice(*np.searchsorted(neuron_N, [neurons.start, neurons.stop]))
        place_N, end_N = torch.from_numpy(neuron_N[rows] - neurons.start), torch.from_numpy(key_N[rows] % 2)
        found = examples.of(place_N, end_N)
        counts.append((found.document_NE != NO_DOCUMENT).sum(1).cpu().numpy())
        parts.append((key_N[rows], found))
    count_N = np.concatenate([np.zeros(0, np.int64), *counts])
    batches = (_batch(key, found, corpus, per_layer, context) for key, found in parts)
    return ExampleRows(key_N, np.cumsum(count_N) - count_N, count_N), batches


def _batch(key_N: Ints, found: Found, corpus: TokenizedCorpus, per_layer: int, context: int) -> pa.RecordBatch:
    document_NE = _array(found.document_NE)
    row_M, rank_M = np.nonzero(document_NE != NO_DOCUMENT)
    document_M, position_M = document_NE[row_M, rank_M], _array(found.position_NE)[row_M, rank_M].astype(np.int64)
    sequences = corpus.sequences[_array(found.sequence_NE)[row_M, rank_M]]
    first_M = sequences["start"].astype(np.int64)
    start_M = np.maximum(position_M - context, first_M)
    stop_M = np.minimum(position_M + context + 1, first_M + sequences["length"])
    window_MW = _array(found.window_NEW.float())[row_M, rank_M]
    place_W = np.arange(window_MW.shape[1]) - context
    inside_MW = (place_W >= (start_M - position_M)[:, None]) & (place_W < (stop_M - position_M)[:, None])
    ends = np.concatenate([[0], np.cumsum(stop_M - start_M)])
    key_M = key_N[row_M]
    columns = {
        "layer": pa.array(key_M // 2 // per_layer, pa.int16()),
        "neuron": pa.array(key_M // 2 % per_layer, pa.int32()),
        "end": pa.array(np.where(key_M % 2 == HIGHEST, HIGHEST_END, LOWEST_END), pa.int8()),
        "rank": pa.array(rank_M, pa.int16()),
        "document": pa.array(document_M, pa.int32()),
        "document_id": pa.array(corpus.document_ids[document_M]),
        "position": pa.array(position_M, pa.int32()),
        "start": pa.array(start_M, pa.int32()),
        "activation": pa.array(_array(found.value_NE)[row_M, rank_M], pa.float32()),
        "values": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(window_MW[inside_MW])),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in NEURON_EXAMPLES.names], schema=NEURON_EXAMPLES)


def _array(values: Tensor) -> npt.NDArray[np.generic]:
    return values.cpu().numpy()
