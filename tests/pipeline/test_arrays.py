"""Sorting of arrays, by NumPy and by torch."""

import numpy as np
import pytest

from pipeline import arrays
from pipeline.arrays import sort_order


@pytest.mark.parametrize("many", [0, 1 << 17])
def test_the_order_is_that_of_a_plain_sort(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MANY", many)
    rng = np.random.default_rng(0)
    one_N, other_N = rng.integers(0, 5, 300), rng.integers(0, 1 << 60, 7)[rng.integers(0, 7, 300)]
    expected = sorted(range(300), key=lambda n: (one_N[n], other_N[n], n))
    assert sort_order(one_N, other_N).tolist() == expected
    assert sort_order(one_N[:0]).tolist() == []
