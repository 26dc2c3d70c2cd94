"""The logistic fit against known truth."""

import numpy as np
import pytest

from data.concepts.frequency import bins_of, fit_logistic, frequencies, why_no_fit

NUM_TOKENS = 10_000_000


def drawn(num: int, half: float, slope: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies over five tenfolds, and whether each concept is represented, by a true curve."""
    rng = np.random.default_rng(seed)
    frequency_N = 10 ** rng.uniform(-7, -2, num)
    odds_N = slope * (np.log10(frequency_N) - np.log10(half))
    return frequency_N, rng.random(num) < 1 / (1 + np.exp(-odds_N))


@pytest.mark.parametrize(("half", "slope"), [(1e-4, 2.0), (3e-5, 4.0), (2e-3, 1.5)])
def test_the_fit_finds_the_true_curve(half: float, slope: float) -> None:
    fit = fit_logistic(*drawn(20_000, half, slope, 0))
    assert np.log10(fit.half) == pytest.approx(np.log10(half), abs=0.05)
    assert fit.slope == pytest.approx(slope, rel=0.06)
    assert -fit.intercept / fit.slope == pytest.approx(np.log10(fit.half))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    fits = [fit_logistic(*drawn(300, 1e-4, 2.0, seed)) for seed in range(200)]
    inside = np.mean([fit.low <= 1e-4 <= fit.high for fit in fits])
    assert 0.91 <= inside <= 0.99


def test_a_fit_is_the_maximum_of_the_likelihood() -> None:
    frequency_N, represented_N = drawn(500, 1e-4, 2.0, 3)
    fit, x_N = fit_logistic(frequency_N, represented_N), np.log10(frequency_N)

    def likelihood(a: float, b: float) -> float:
        odds_N = np.where(represented_N, 1, -1) * (a + b * x_N)
        return float(-np.logaddexp(0, -odds_N).sum() - 0.01 * b**2)

    best = likelihood(fit.intercept, fit.slope)
    for da, db in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert likelihood(fit.intercept + da, fit.slope + db) < best


def test_concepts_that_frequency_tells_apart_without_exception_have_a_finite_fit() -> None:
    frequency_N = 10.0 ** np.linspace(-6, -2, 50)
    fit = fit_logistic(frequency_N, frequency_N > 1e-4)
    assert 0 < fit.low < fit.half < fit.high < 1
    assert fit.half == pytest.approx(1e-4, rel=0.2)
    assert np.isfinite(fit.slope)


def test_a_fit_needs_concepts_of_both_kinds() -> None:
    apart = np.geomspace(1e-6, 1e-3, 94)
    assert why_no_fit(np.array([True] * 4 + [False] * 90), apart).startswith("4 of 94 concepts")
    assert why_no_fit(np.array([True] * 90), apart[:90])
    assert why_no_fit(np.array([True] * 5 + [False] * 5), apart[:10]) == ""


def test_a_fit_needs_frequencies_that_differ() -> None:
    balanced, same = np.array([True] * 6 + [False] * 6), frequencies(np.full(12, 40), NUM_TOKENS)
    assert "12 concepts occur equally often" in why_no_fit(balanced, same)
    assert why_no_fit(balanced, np.append(same[:11], 2 * same[11])) == ""


def test_a_fit_without_a_slope_has_an_interval_without_bounds() -> None:
    fit = fit_logistic(np.repeat([1e-5, 1e-3], 10), np.tile([True, False], 10))
    assert fit.slope == pytest.approx(0, abs=1e-6)
    assert fit.low < 1e-100 < 1e100 < fit.high


def test_bins_hold_every_concept_once() -> None:
    rng = np.random.default_rng(0)
    occurrences_N = np.concatenate([[0, 0, 0], rng.integers(1, 50_000, 400)])
    represented_N = rng.random(403) < 0.3
    bins = bins_of(occurrences_N, NUM_TOKENS, represented_N)
    assert (bins[0].high, bins[0].num) == (0, 3)
    assert sum(one.num for one in bins) == 403
    assert sum(one.num_represented for one in bins) == represented_N.sum()
    for one in bins[1:]:
        inside_N = (occurrences_N / NUM_TOKENS >= one.low) & (occurrences_N / NUM_TOKENS < one.high)
        assert (one.num, one.num_represented) == (inside_N.sum(), (inside_N & represented_N).sum())


def test_a_concept_that_occurs_nowhere_counts_as_half_an_occurrence() -> None:
    assert frequencies(np.array([0, 1, 10]), 100).tolist() == [0.005, 0.01, 0.1]
