"""The sample of documents that losses are measured on."""

from itertools import pairwise

import numpy as np
import pytest

from pipeline.evaluation.sample import draw_documents, draw_sequences, whole_documents

ROWS = np.arange(10, 50)
LENGTHS = np.random.default_rng(0).integers(20, 400, len(ROWS))
LENGTH_OF = dict(zip(ROWS.tolist(), LENGTHS.tolist(), strict=True))


def spans(sample: np.ndarray) -> dict[int, list[tuple[int, int]]]:
    """Start and stop of the sequences of each document, in order."""
    found: dict[int, list[tuple[int, int]]] = {}
    for row, start, length in sorted(sample.tolist()):
        found.setdefault(row, []).append((start, start + length))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_documents_are_whole_but_one_which_gives_a_stretch(seed: int) -> None:
    sample = draw_documents(ROWS, LENGTHS, 63, 2_000, seed)
    assert sample["length"].sum() == 2_000
    assert sample["length"].max() <= 63
    found = spans(sample)
    assert len(found) >= 6, "spread over documents"
    cut = 0
    for row, parts in found.items():
        assert all(stop == start for (_, stop), (start, _) in pairwise(parts)), "in a row"
        assert 0 <= parts[0][0] < parts[-1][1] <= LENGTH_OF[row]
        cut += parts[-1][1] - parts[0][0] < LENGTH_OF[row]
    assert cut <= 1


def test_the_sample_is_the_seeds_and_another_seeds_another() -> None:
    first, again, other = (draw_documents(ROWS, LENGTHS, 63, 2_000, seed).tolist() for seed in (3, 3, 4))
    assert first == again
    assert {row for row, _, _ in first} != {row for row, _, _ in other}


def test_every_document_has_the_same_chance() -> None:
    """Also the long ones, which come first where sequences are sorted by length."""
    times = np.zeros(50)
    for seed in range(2_000):
        times[np.unique(draw_documents(ROWS, np.full(40, 100), 63, 1_000, seed)["document"])] += 1
    assert times[10:] == pytest.approx(500, abs=90)


def test_a_long_document_gives_a_stretch_from_anywhere() -> None:
    starts = [draw_documents(np.array([7]), np.array([1_000]), 500, 100, seed)["start"].min() for seed in range(300)]
    assert min(starts) < 50
    assert max(starts) > 850
    assert np.mean(starts) == pytest.approx(450, abs=60)


def test_a_budget_that_is_not_reached_takes_all() -> None:
    sample = draw_documents(ROWS, LENGTHS, 63, 10**9, 0)
    assert sorted(sample.tolist()) == sorted(whole_documents(ROWS, LENGTHS, 63).tolist())
    assert len(draw_documents(ROWS[:0], LENGTHS[:0], 63, 100, 0)) == 0


def test_one_sequence_of_each_of_some_documents() -> None:
    sequences = whole_documents(ROWS, LENGTHS, 63)
    drawn = draw_sequences(sequences, 8, 1)
    assert len(set(drawn["document"].tolist())) == len(drawn) == 8
    assert set(drawn.tolist()) <= set(sequences.tolist())
    assert drawn.tolist() == draw_sequences(sequences, 8, 1).tolist()
    assert len(draw_sequences(sequences, 100, 1)) == len(ROWS)
