"""What a grid needs, and what is said of one that does not fit."""

import pytest

from pipeline.recipe.scaling import ScaleConfig
from pipeline.scaling.flops import flops_per_step
from pipeline.scaling.room import (
    TRAINING_BYTES,
    courses_at_once,
    grid_flops,
    hours_problem,
    lane_bytes,
    lane_steps,
    memory_problems,
    pack,
    parameters,
    timed_hours_problem,
    usable_memory,
)
from tests.pipeline.scaling.planted import COUNTS, RATES, SIZES, WIDTH, config_of

CONFIG = config_of()


def test_a_lane_makes_its_trunk_once_and_each_end_by_itself():
    assert lane_steps(CONFIG, [51_200, 102_400]) == 160 + 20 + 40
    assert lane_steps(CONFIG, [51_200]) == 100


@pytest.mark.parametrize(
    ("fraction", "counts", "expected"),
    [(0.2, COUNTS, 2), (0.2, [51_200], 1), (0.9, [51_200, 102_400], 2), (0.5, [51_200, 52_224, 102_400], 3)],
)
def test_copies_at_once(fraction, counts, expected):
    config = ScaleConfig(batch_size=512, warmup_steps=1, decay_fraction=fraction)

    assert courses_at_once(config, counts) == expected


def test_operations_of_a_grid_are_those_of_its_lanes():
    per_step = flops_per_step(512, WIDTH, 1)
    lanes = sum(size * lane_steps(CONFIG, COUNTS) for size in SIZES)
    sweep = sum(size * 256 * len(RATES) for size in SIZES[:3])

    assert grid_flops(CONFIG, CONFIG.grids[0], WIDTH) == pytest.approx((lanes + sweep) * per_step)


def test_sizes_that_do_not_fit_are_told_with_those_that_do():
    need = lane_bytes(CONFIG, SIZES[3], COUNTS, WIDTH)
    assert need == 2 * parameters(SIZES[3], WIDTH) * TRAINING_BYTES

    (problem,) = memory_problems(CONFIG, WIDTH, need)

    assert f"{SIZES[-1]:,} features need" in problem
    assert f"{SIZES[3]:,} of its sizes fits, and at most {SIZES[3]:,} features would" in problem
    assert memory_problems(CONFIG, WIDTH, 10**12) == []
    assert "none of its sizes fits" in memory_problems(CONFIG, WIDTH, 1000)[0]


def test_hours_are_told_with_what_would_fit():
    total = grid_flops(CONFIG, CONFIG.grids[0], WIDTH) / 3600
    config = CONFIG.model_copy(update={"max_hours": 0.6})

    assert hours_problem(config, WIDTH, total / 0.5) == ""
    problem = hours_problem(config, WIDTH, total)
    assert "about 1.0 hours" in problem
    assert f"sizes up to {SIZES[-2]:,} or token counts up to {COUNTS[-2]:,} would fit" in problem
    assert "no part of them would fit" in hours_problem(config, WIDTH, total / 1e6)


def test_a_machine_is_timed_only_where_it_matters():
    def never() -> float:
        raise AssertionError

    assert timed_hours_problem(CONFIG, WIDTH, never) == ""
    short = CONFIG.model_copy(update={"max_hours": 0.001})
    assert "scale.max_hours=0.001" in timed_hours_problem(short, WIDTH, lambda: 1e9)


def test_lanes_are_packed_the_largest_first():
    assert pack([3, 5, 4, 2], 9) == [[1, 2], [0, 3]]
    assert pack([10], 9) == [[0]]
    assert pack([], 9) == []


def test_this_machine_has_some_memory():
    assert usable_memory() > 10**6
