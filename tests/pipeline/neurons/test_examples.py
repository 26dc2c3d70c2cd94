"""Examples of neurons against a sort of all tokens."""

import numpy as np
import torch
from torch import Tensor

from pipeline.neurons.examples import HIGHEST, LOWEST, NO_DOCUMENT, NeuronExamples, NeuronSequence

NUM_NEURONS, EXAMPLES, CONTEXT = 6, 3, 4


def sequences() -> list[NeuronSequence]:
    """Of five documents, some in two pieces; here and there tokens are left out."""
    rng = np.random.default_rng(0)
    found = []
    for number, (document, start, length) in enumerate(
        [(0, 0, 70), (1, 0, 33), (0, 70, 40), (2, 0, 5), (3, 0, 64), (1, 33, 32), (4, 0, 90)]
    ):
        position = np.sort(rng.permutation(np.arange(start, start + length))[: max(1, length - 3)])
        values = rng.normal(size=(len(position), NUM_NEURONS)).astype(np.float32)
        values[:, 5] = np.abs(values[:, 5])  # never below zero
        found.append(NeuronSequence(document, number, torch.from_numpy(position), torch.from_numpy(values)))
    return found


def naive(neuron: int, end: int) -> list[tuple[float, int, int, list[float]]]:
    """Value, document, position and window of the strongest token of each document, the strongest first."""
    best: dict[int, tuple[float, int, int, list[float]]] = {}
    sign = 1 if end == HIGHEST else -1
    for one in sequences():
        value_of = dict(zip(one.position_L.tolist(), one.neurons_LM[:, neuron].tolist(), strict=True))
        position = max(value_of, key=lambda p: sign * value_of[p])
        value = value_of[position]
        window = [value_of.get(p, 0.0) for p in range(position - CONTEXT, position + CONTEXT + 1)]
        known = best.get(one.document)
        if sign * value > 0 and (known is None or sign * value > sign * known[0]):
            best[one.document] = (value, one.document, position, window)
    return sorted(best.values(), key=lambda found: -sign * found[0])[:EXAMPLES]


def read(parts: list[NeuronSequence]) -> NeuronExamples:
    examples = NeuronExamples(NUM_NEURONS, EXAMPLES, CONTEXT, torch.float32)
    for part in parts:
        examples.add(part)
    return examples


def as_lists(examples: NeuronExamples, neuron: int, end: int) -> list[tuple[float, int, int, list[float]]]:
    found = examples.of(torch.tensor([neuron]), torch.tensor([end]))
    columns = (found.value_NE, found.document_NE, found.position_NE, found.window_NEW)
    rows = zip(*(column[0].tolist() for column in columns), strict=True)
    return [row for row in rows if row[1] != NO_DOCUMENT]


def test_examples_are_the_strongest_of_each_document_at_both_ends_in_any_order() -> None:
    for parts in (sequences(), sequences()[::-1]):
        examples = read(parts)
        for neuron in range(NUM_NEURONS):
            for end in (HIGHEST, LOWEST):
                assert as_lists(examples, neuron, end) == naive(neuron, end)


def test_a_neuron_that_never_goes_below_zero_has_no_lowest_examples() -> None:
    assert as_lists(read(sequences()), 5, LOWEST) == []


def test_the_sequence_of_each_example_is_told() -> None:
    found = read(sequences()).of(torch.arange(NUM_NEURONS), torch.full((NUM_NEURONS,), HIGHEST))
    parts = sequences()
    for sequence, position, value in zip(
        *(flat(c) for c in (found.sequence_NE, found.position_NE, found.value_NE)), strict=True
    ):
        part = parts[int(sequence)]
        assert value in part.neurons_LM[part.position_L == position]


def flat(values: Tensor) -> list[float]:
    return values.reshape(-1).tolist()
