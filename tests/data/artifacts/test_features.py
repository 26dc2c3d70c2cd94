"""What statistics say of features: the floor of `bottom`, and who does next to nothing."""

import numpy as np
import pyarrow as pa
import pytest

from data.artifacts.features import (
    FLOOR_BIN,
    NEGLIGIBLE_SHARE,
    bottom_floor,
    count_features,
    feature_kinds,
    histogram_edges,
    negligible_features,
    squared_shares,
)


def test_the_floor_is_an_edge_of_the_histogram() -> None:
    assert histogram_edges(111.0)[FLOOR_BIN] == bottom_floor(111.0) == pytest.approx(0.108, abs=1e-3)


def test_negligible_is_live_and_below_a_part_of_an_equal_share() -> None:
    limit = NEGLIGIBLE_SHARE / 4
    squares_F = np.array([1.0, 0.0, limit * 0.9, limit * 1.1])
    assert negligible_features(squares_F).tolist() == [False, False, True, False]
    assert squared_shares(squares_F).sum() == pytest.approx(1)


NUM_ACTIVE = [0, 1, 99, 100, 5000, 5, 300]
SQUARES = [0.0, 9.0, 9.0, 9.0, 9.0, 1e-9, 1e-9]


def test_a_feature_is_dead_rare_negligible_or_live() -> None:
    kinds = feature_kinds(np.array(NUM_ACTIVE), np.array(SQUARES), 100)
    assert np.flatnonzero(kinds.dead_F).tolist() == [0]
    assert np.flatnonzero(kinds.rare_F).tolist() == [1, 2, 5]
    assert np.flatnonzero(kinds.negligible_F).tolist() == [5, 6]
    assert np.flatnonzero(kinds.live_F).tolist() == [3, 4]
    assert np.flatnonzero(kinds.minor_F).tolist() == [1, 2, 5, 6]
    assert not feature_kinds(np.array(NUM_ACTIVE), np.array(SQUARES), 1).rare_F.any()


def test_the_counts_of_all_kinds_together_are_all_features() -> None:
    counts = count_features(pa.table({"num_active": NUM_ACTIVE, "sum_squares": SQUARES}), 100)
    assert counts[:4] == (2, 3, 1, 1), "what is rare and negligible counts as rare"
    assert sum(counts[:4]) == len(NUM_ACTIVE)
    assert counts.negligible_share == pytest.approx(1e-9 / 36)


def test_an_sae_of_dead_features_has_no_negligible_ones() -> None:
    assert squared_shares(np.zeros(3)).tolist() == [0, 0, 0]
    assert not negligible_features(np.zeros(3)).any()
