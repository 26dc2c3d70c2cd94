"""The ratio estimator and its interval."""

import numpy as np
import pytest

from pipeline.evaluation.intervals import estimate_ratio, t_quantile


def test_equal_documents_differ_by_nothing() -> None:
    found = estimate_ratio(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert found == (2.0, 0.0, 3)
    assert found.interval() == (2.0, 2.0)


def test_equal_sizes_give_the_standard_error_of_a_mean() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    found = estimate_ratio(10 * values, np.full(4, 10.0))
    assert found.value == pytest.approx(4.0)
    assert found.standard_error == pytest.approx(values.std(ddof=1) / 2)


def test_one_document_has_no_interval() -> None:
    assert estimate_ratio(np.array([3.0]), np.array([2.0])).interval() is None


def test_quantiles_of_students_t() -> None:
    assert t_quantile(0.95, 5) == pytest.approx(2.5706, abs=1e-4)
    assert t_quantile(0.95, 10**6) == pytest.approx(1.96, abs=1e-3)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Documents of uneven length with a loss of their own: true ratio 3."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2_000):
        tokens = rng.uniform(200, 800, 8)
        found = estimate_ratio(tokens * rng.normal(3.0, 0.4, 8), tokens)
        low, high = found.interval() or (0.0, 0.0)
        held += low <= 3.0 <= high
    assert held / 2_000 == pytest.approx(0.95, abs=0.02)
