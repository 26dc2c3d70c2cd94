import numpy as np
import pytest

from backend.attribution.ranking import correlate


def test_a_correlation_needs_three_and_something_that_varies() -> None:
    three = np.array([1, 2, 4], np.float32)
    assert correlate(three, 2 * three) == pytest.approx(1)
    assert correlate(three[:2], three[:2]) is None
    assert correlate(three, np.ones(3, np.float32)) is None
