"""Mean scores of the features that were drawn at random."""

from typing import Any, cast

import numpy as np
import pytest
from scipy import stats

from data.artifacts.scores import LEAST_RANDOM
from pipeline.scores.asking import Found, Score, ScoredFeature, ScoredSAE
from pipeline.scores.summary import summarise

VALUES = np.random.default_rng(0).random(12)


def summary(random: set[int]) -> list[dict[str, Any]]:
    """Of features 100, 101, ... with VALUES by judge `a` at fuzzing, each of which judge `b` calls worthless."""
    none = cast(Any, None)
    features = [ScoredFeature(100 + place, "label", "") for place in range(len(VALUES))]
    scores = [
        Score(place, judge, task, value, None, 10)
        for place, mine in enumerate(VALUES)
        for judge, task, value in ((0, "fuzzing", float(mine)), (1, "specificity", 0.0))
    ]
    return summarise(ScoredSAE("sae", features, none, none, none), Found(none, scores), random, ["a", "b"])


def test_means_and_intervals_are_students() -> None:
    fuzzing, specificity = summary(set(range(101, 112)))
    mean, error = VALUES[1:].mean(), VALUES[1:].std(ddof=1) / np.sqrt(11)
    low, high = stats.t.interval(0.95, 10, mean, error)
    assert (fuzzing["judge"], fuzzing["task"], fuzzing["num"]) == ("a", "fuzzing", 11)
    assert (fuzzing["mean"], fuzzing["low"], fuzzing["high"]) == pytest.approx((mean, low, high))
    assert (specificity["judge"], specificity["mean"], specificity["low"], specificity["high"]) == ("b", 0.0, 0.0, 0.0)


def test_too_few_say_nothing() -> None:
    assert summary(set(range(100, 100 + LEAST_RANDOM - 1))) == []
