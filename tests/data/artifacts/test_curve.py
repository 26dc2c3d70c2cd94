"""Whether a loss was still falling, on curves of which it is known."""

import math

import numpy as np
import pytest

from data.artifacts.curve import describe_falling, loss_trend

STEPS = 400


def curve(loss, decay: float = 0.2, every: int = 2):
    return [
        {"step": step, "loss": loss(step), "learning_rate": min(1.0, (STEPS - step) / max(1.0, decay * STEPS)) * 1e-3}
        for step in range(every, STEPS + 1, every)
    ]


def test_a_loss_that_is_flat_is_not_falling_though_it_falls_with_the_learning_rate() -> None:
    rng = np.random.default_rng(0)
    points = curve(lambda step: 100 + rng.normal() - 30 * max(0, step - 320) / 80)
    found = loss_trend(points)
    assert found is not None
    assert abs(found.fall) < 0.01
    assert not found.still_falling
    assert found.num_steps == STEPS


def test_the_fall_is_that_of_the_last_tenth_before_the_decay() -> None:
    points = curve(lambda step: 200 - step / 4)
    found = loss_trend(points)
    assert found is not None
    before, last = (np.mean([200 - s / 4 for s in range(a + 2, a + 42, 2)]) for a in (240, 280))
    assert found.fall == pytest.approx(1 - last / before)
    assert found.still_falling
    assert not loss_trend(curve(lambda step: 100 + step)).still_falling


@pytest.mark.parametrize("points", [[], [{"step": 1, "loss": 1.0, "learning_rate": 1.0}], curve(lambda step: 1.0)[:1]])
def test_too_few_points_say_nothing(points) -> None:
    assert loss_trend(points) is None


def test_without_a_decay_the_end_is_the_end() -> None:
    assert loss_trend(curve(lambda step: math.exp(-step / 50), decay=0)).still_falling


def test_the_sentence_names_those_that_fall() -> None:
    falling, flat = ({"still_falling": one, "num_steps": 1234, "fall": 0.0} for one in (True, False))
    assert describe_falling({"a": flat, "b": None}) == ""
    assert describe_falling({"a": falling, "b": flat}).startswith("The loss of a was still falling after 1,234 steps:")
    assert "of a, b and c was" in describe_falling({"a": falling, "b": falling, "c": falling})
