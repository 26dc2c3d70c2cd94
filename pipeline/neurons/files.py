"""The artifact of stage `neurons` as tables, see data/artifacts/neurons.py.

Shapes: F features of one SAE, R features correlated, of all SAEs together, K best neurons, N neurons with examples at
one end, E examples of each, M rows.
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

    def of(self, key: Ints) -> tuple[list[int], list[int]]:
        """Rows and numbers of the examples of some neurons."""
        place = np.searchsorted(self.key_N, key)
        return self.first_N[place].tolist(), self.count_N[place].tolist()


def _keys(neuron_RK: Ints, r_RK: Floats) -> Ints:
    """One number for a neuron and the end of its range that r says."""
    return 2 * neuron_RK + np.where(r_RK < 0, LOWEST, HIGHEST)


def neurons_table(
    num_features: int, chosen: Ints, found: Correlated | None, per_layer: int, shown: int, examples: ExampleRows
) -> pa.Table:
    """NEURONS of one SAE. chosen: indices of the features that were correlated; found: theirs, None when none were."""
    rows = [_nothing(index, None) for index in range(num_features)]
    if found is not None:
        keys_RK = _keys(found.neuron_RK, found.r_RK)
        for place, index in enumerate(chosen.tolist()):
            rows[index] = _nothing(index, int(found.num_active_R[place]))
            if found.enough_R[place]:
                first, count = examples.of(keys_RK[place, :shown])
                neuron_K, r_K = found.neuron_RK[place], found.r_RK[place]
                rows[index] |= {
                    "neuron_r": r_K.tolist(),
                    "neuron_layer": (neuron_K // per_layer).tolist(),
                    "neuron": (neuron_K % per_layer).tolist(),
                    "first_neuron_example": first,
                    "num_neuron_examples": count,
                    "highest_r": abs(float(r_K[0])),
                }
    return pa.Table.from_pylist(rows, NEURONS)


def _nothing(index: int, num_active: int | None) -> dict[str, object]:
    lists = ("neuron_r", "neuron_layer", "neuron", "first_neuron_example", "num_neuron_examples")
    return {"index": index, "neuron_tokens": num_active, **{name: [] for name in lists}, "highest_r": None}


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
