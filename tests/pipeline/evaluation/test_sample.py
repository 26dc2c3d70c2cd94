"""The sample of documents that losses are measured on."""

from collections import Counter

import numpy as np
import pytest

from data.artifacts.corpus import Cutting
from pipeline.evaluation.sample import draw_in_turn, draw_sequences, whole_documents

ROWS = np.arange(10, 50)
CUTTING = Cutting(63, bos_id=0)
LENGTHS = np.random.default_rng(0).integers(20, 400, len(ROWS))
LENGTH_OF = dict(zip(ROWS.tolist(), LENGTHS.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget", [300, 2_000, 6_000])
def test_documents_give_their_sequences_in_turn(seed: int, budget: int) -> None:
    sample = draw_in_turn(whole_documents(ROWS, LENGTHS, CUTTING), budget, seed)
    assert sample["length"].sum() == budget
    everything = {(row, start): length for row, start, length in whole_documents(ROWS, LENGTHS, CUTTING).tolist()}
    drawn = [(row, start) for row, start, _ in sample.tolist()]
    assert len(set(drawn)) == len(drawn)
    assert all(
        everything[place] == length for place, (_, _, length) in zip(drawn[:-1], sample[:-1].tolist(), strict=True)
    )
    assert 0 < sample["length"][-1] <= everything[drawn[-1]]
    given = Counter(row for row, _ in drawn)
    for row in ROWS.tolist():  # nobody has fewer than another, unless all of its own are given, or it was its last turn
        num_sequences = -(-LENGTH_OF[row] // 63)
        assert given[row] >= min(num_sequences, max(given.values()) - 1)


def test_the_sample_is_the_seeds_and_another_seeds_another() -> None:
    first, again, other = (
        draw_in_turn(whole_documents(ROWS, LENGTHS, CUTTING), 600, seed).tolist() for seed in (3, 3, 4)
    )
    assert first == again
    assert {row for row, _, _ in first} != {row for row, _, _ in other}


def test_every_document_and_every_sequence_of_it_has_the_same_chance() -> None:
    """Also the long ones, which come first where sequences are sorted by length."""
    documents, starts = np.zeros(50), Counter()
    for seed in range(2_000):
        sample = draw_in_turn(whole_documents(ROWS, np.full(40, 100), Cutting(50, 0)), 500, seed)
        documents[sample["document"]] += 1
        starts.update(sample["start"].tolist())
    assert documents[10:] == pytest.approx(500, abs=90)
    assert starts[0] == pytest.approx(10_000, abs=400)
    assert starts[50] == 20_000 - starts[0]


def test_a_budget_that_is_not_reached_takes_all() -> None:
    sample = draw_in_turn(whole_documents(ROWS, LENGTHS, CUTTING), 10**9, 0)
    assert sorted(sample.tolist()) == sorted(whole_documents(ROWS, LENGTHS, CUTTING).tolist())
    assert len(draw_in_turn(whole_documents(ROWS[:0], LENGTHS[:0], CUTTING), 100, 0)) == 0


def test_one_sequence_of_each_of_some_documents() -> None:
    sequences = whole_documents(ROWS, LENGTHS, CUTTING)
    drawn = draw_sequences(sequences, 8, 1)
    assert len(set(drawn["document"].tolist())) == len(drawn) == 8
    assert set(drawn.tolist()) <= set(sequences.tolist())
    assert drawn.tolist() == draw_sequences(sequences, 8, 1).tolist()
    assert len(draw_sequences(sequences, 100, 1)) == len(ROWS)
