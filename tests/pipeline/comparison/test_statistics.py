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
    assert other.p == pytest.approx(found.p)


def test_superiority_is_that_of_all_pairs_and_p_that_of_permutations() -> None:
    one, two = (np.round(values, 1) for values in groups(3, 0.12))
    found = compare(one, two, 0)

    def superiority(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a[:, None] > b).sum() + (a[:, None] == b).sum() / 2) / (len(a) * len(b)))

    assert found.superiority == pytest.approx(superiority(one, two))
    rng, both = np.random.default_rng(0), np.concatenate([one, two])
    shuffled = [superiority(order[:30], order[30:]) for order in (rng.permutation(both) for _ in range(2000))]
    p = np.mean(np.abs(np.array(shuffled) - 0.5) >= abs(found.superiority - 0.5) - 1e-12)
    assert found.p == pytest.approx(p, abs=0.02)


def test_like_groups_differ_as_often_as_chance_has_it() -> None:
    found = [compare(*groups(seed), seed).p for seed in range(200)]
    assert 0.01 < np.mean(np.array(found) < 0.05) < 0.1
    assert 0.4 < np.mean(found) < 0.6


def test_intervals_hold_the_true_mean_about_as_often_as_they_say() -> None:
    held = [low <= 0.5 <= high for seed in range(200) for _, low, high in [mean_interval(groups(seed)[0], seed)]]
    assert 0.88 < np.mean(held) <= 0.99


def test_equal_values_have_a_point_for_an_interval_and_no_sign_of_a_difference() -> None:
    same = np.full(5, 0.5)
    assert mean_interval(same, 0) == (0.5, 0.5, 0.5)
    found = compare(same, same, 0)
    assert (*found.means, found.superiority, found.p) == (0, 0, 0, 0.5, 1)
