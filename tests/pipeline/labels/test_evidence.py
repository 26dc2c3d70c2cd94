"""Counts behind the evidence, against plain ones."""

import numpy as np
import pytest

from pipeline.labels.evidence import _counts_of_pairs


@pytest.mark.parametrize("size", [0, 1, 500])
def test_pairs_are_counted_once_in_each_document(size: int) -> None:
    rng = np.random.default_rng(2)
    pair_N, document_N = rng.integers(1 << 40, (1 << 40) + 30, size), rng.integers(0, 9, size)
    expected: dict[int, set[int]] = {}
    for pair, document in zip(pair_N.tolist(), document_N.tolist(), strict=True):
        expected.setdefault(pair, set()).add(document)
    pair_P, count_P = _counts_of_pairs(pair_N, document_N, 9)
    assert pair_P.tolist() == sorted(expected)
    assert count_P.tolist() == [len(expected[pair]) for pair in sorted(expected)]
