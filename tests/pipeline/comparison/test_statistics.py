"""Means, intervals and tests of two groups, against naive ones and against what was planted."""

import numpy as np
import pytest

from pipeline.comparison.statistics import compare, mean_interval


def groups(seed: int, shift: float = 0.0, size: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.beta(2, 2, size) + shift, rng.beta(2, 2, size)


def test_a_difference_has_its_sign_and_lies_in_its_interval() -> None:
    more, fewer = groups(0, 0.3)
    found, other = compare(more, fewer, 0), compare(fewer, more, 0)
    assert found.means.value == pytest.approx(more.mean() - fewer.mean())
    assert 0 < found.means.low < found.means.value < found.means.high
    assert found.p < 1e-3
    assert (other.means.value, other.superiority) == pytest.approx((-found.means.value, 1 - found.superiority))
    assert other.p < 1e-3


def test_superiority_is_that_of_all_pairs_and_p_that_of_permutations() -> None:
    one, two = (np.round(values, 1) for values in groups(3, 0.12))
    found = compare(one, two, 0)

    def superiority(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a[:, None] > b).sum() + (a[:, None] == b).sum() / 2) / (len(a) * len(b)))

    assert found.superiority == pytest.approx(superiority(one, two))
    rng, both = np.random.default_rng(0), np.concatenate([one, two])
    shuffled = [order[:30].mean() - order[30:].mean() for order in (rng.permutation(both) for _ in range(2000))]
    p = np.mean(np.abs(shuffled) >= abs(found.means.value) - 1e-12)
    assert found.p == pytest.approx(p, abs=0.02)


def test_few_values_are_parted_in_all_ways() -> None:
    assert compare(np.array([0.8, 0.9, 1.0]), np.array([0.1, 0.2, 0.3]), 0).p == pytest.approx(2 / 20)


def test_p_and_interval_are_of_the_difference_of_means_where_ranks_say_nothing() -> None:
    """Most of both are the same, and few of the first far above: the mean differs, the middle of the ranks does not."""
    one, two = np.r_[np.full(28, 0.2), np.full(12, 1.0)], np.r_[np.full(14, 0.1), np.full(26, 0.25)]
    found = compare(one, two, 0)
    assert 0.45 < found.superiority < 0.55
    assert found.p < 1e-3
    assert found.means.low > 0


def test_p_and_interval_agree_but_on_the_margin() -> None:
    found = [compare(*groups(seed, shift), seed) for seed in range(20) for shift in (0.0, 0.1, 0.2)]
    parted = [one.p for one in found if (one.p < 0.05) != (one.means.low > 0 or one.means.high < 0)]
    assert all(0.02 < p < 0.1 for p in parted)


def test_like_groups_differ_as_often_as_chance_has_it() -> None:
    found = np.array([compare(*groups(seed), seed).p for seed in range(200)])
    for level in (0.05, 0.25, 0.5, 0.75):
        assert np.mean(found < level) == pytest.approx(level, abs=3 * (level * (1 - level) / len(found)) ** 0.5)


def test_intervals_hold_the_true_mean_about_as_often_as_they_say() -> None:
    held = [low <= 0.5 <= high for seed in range(200) for _, low, high in [mean_interval(groups(seed)[0], seed)]]
    assert 0.88 < np.mean(held) <= 0.99


def test_equal_values_have_a_point_for_an_interval_and_no_sign_of_a_difference() -> None:
    same = np.full(5, 0.5)
    assert mean_interval(same, 0) == (0.5, 0.5, 0.5)
    found = compare(same, same, 0)
    assert (*found.means, found.superiority, found.p) == (0, 0, 0, 0.5, 1)
