"""What statistics say of features: the floor of `bottom`, and who does next to nothing."""

import numpy as np
import pytest

from data.artifacts.features import (
    FLOOR_BIN,
    NEGLIGIBLE_SHARE,
    bottom_floor,
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


def test_an_sae_of_dead_features_has_no_negligible_ones() -> None:
    assert squared_shares(np.zeros(3)).tolist() == [0, 0, 0]
    assert not negligible_features(np.zeros(3)).any()
