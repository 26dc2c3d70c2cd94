"""Which features are scored."""

import numpy as np

from pipeline.scores.choosing import choose_features, share_of

F = 40
INTEREST = np.linspace(1, 0, F)
LABELLED = np.arange(F) % 7 != 5


def test_shown_ones_come_first_in_their_order_then_those_that_respond_then_the_most_interesting() -> None:
    chosen = choose_features(LABELLED, INTEREST, [30, 11], [3, 11, 30, 20], 12, 0)
    assert chosen.leading.tolist() == [30, 11, 3, 20, 0, 1]
    assert len(chosen.random) == 6
    assert not set(chosen.random.tolist()) & set(chosen.leading.tolist())
    assert LABELLED[chosen.indices].all()


def test_all_that_respond_are_scored_where_they_are_more_than_half() -> None:
    chosen = choose_features(LABELLED, INTEREST, [30], [30, 1, 2, 3, 4], 8, 0)
    assert chosen.leading.tolist() == [30, 1, 2, 3, 4]
    assert len(chosen.indices) == 8
    few = choose_features(LABELLED, INTEREST, [30], [30, 1, 2, 3, 4], 3, 0)
    assert few.indices.tolist() == [30, 1, 2]


def test_an_unlabelled_feature_is_not_scored_though_it_is_shown() -> None:
    chosen = choose_features(LABELLED, INTEREST, [5, 30], [5, 30], 4, 0)
    assert chosen.leading.tolist() == [30, 0]


def test_random_ones_differ_by_seed_and_no_feature_comes_twice() -> None:
    drawn = [choose_features(LABELLED, INTEREST, [], [], 10, seed) for seed in range(2)]
    assert drawn[0].leading.tolist() == drawn[1].leading.tolist()
    assert drawn[0].random.tolist() != drawn[1].random.tolist()
    everything = choose_features(LABELLED, INTEREST, [3], [3], 100, 0)
    assert sorted(everything.indices.tolist()) == np.flatnonzero(LABELLED).tolist()


def test_shares_of_a_budget_add_up() -> None:
    assert [share_of(8, 3, place) for place in range(3)] == [3, 3, 2]
