"""The learning rate of each size: the best of a sweep, and the law through these."""

import math

import numpy as np
import pytest

from pipeline.scaling.cells import CellKeys, Planned, swept_cells
from pipeline.scaling.learning_rates import LearningRates, find_learning_rates, fit_law, rounded
from tests.pipeline.scaling.planted import RATE_EXPONENT, RATE_SCALE, RATES, SIZES, config_of, measure, planted_loss


def rates_of(loss=planted_loss, **changes) -> LearningRates:
    config = config_of(**changes)
    keys = CellKeys(config, "rows", 0)
    return find_learning_rates(config.grids[0], keys, measure(keys, list(swept_cells(config.grids[0])), loss))


def test_a_planted_law_is_found_and_extrapolated():
    found = rates_of()

    assert found.law is not None
    assert found.law.coefficient == pytest.approx(RATE_SCALE, rel=0.01)
    assert found.law.exponent.value == pytest.approx(RATE_EXPONENT, abs=1e-3)
    assert (found.law.smallest_swept, found.law.largest_swept) == (SIZES[0], SIZES[2])
    assert [point.x for point in found.law.curve] == list(SIZES)
    rate, source = found.of(SIZES[-1])
    assert (rate, source) == (rounded(RATE_SCALE * SIZES[-1] ** RATE_EXPONENT), "extrapolated")
    assert found.of(SIZES[1])[1] == "law"


def test_the_exponent_lies_within_its_interval_in_nine_of_ten_seeds():
    inside = 0
    for seed in range(100):
        noise = np.exp(0.1 * np.random.default_rng(seed).standard_normal(4))
        law = fit_law(
            [(n, RATE_SCALE * n**RATE_EXPONENT * float(e)) for n, e in zip(SIZES, noise, strict=False)], SIZES
        )
        inside += law.exponent.low <= RATE_EXPONENT <= law.exponent.high

    assert inside >= 90


def test_two_sizes_give_a_law_without_an_interval():
    found = rates_of(sweep_features=SIZES[:2])

    assert found.law is not None
    assert found.law.exponent.low == found.law.exponent.value == found.law.exponent.high


def test_a_best_one_at_the_end_of_the_sweep_is_not_known():
    def loss(cell: Planned) -> float:
        return planted_loss(cell) if cell.num_features == SIZES[0] else 100 / cell.learning_rate

    found = rates_of(loss)

    assert [one.best is None for one in found.swept] == [False, True, True]
    assert "largest learning rate" in found.swept[1].why_none
    assert found.law is None
    assert f"Only {SIZES[0]:,} features" in found.why_none
    assert found.of(SIZES[0]) == (rounded(RATE_SCALE * SIZES[0] ** RATE_EXPONENT), "swept")
    assert found.of(SIZES[5])[1] == "extrapolated"


def test_where_none_is_known_the_lowest_loss_of_the_most_features_decides():
    found = rates_of(lambda cell: math.nan if cell.learning_rate > 9e-3 else 1 / cell.learning_rate)

    assert found.law is None
    assert found.of(SIZES[4]) == (RATES[3], "given")
    assert "8,192" not in found.why_none
    assert "0.008" in found.why_none


def test_a_sweep_that_diverged_throughout_is_told():
    found = rates_of(lambda cell: math.nan)

    assert {one.why_none for one in found.swept} == {"All of its trainings diverged."}
    assert found.of(SIZES[0])[0] == min(RATES)


def test_one_learning_rate_for_all_is_no_sweep():
    found = rates_of(learning_rates=(3e-3,), sweep_features=(), sweep_tokens=None)

    assert found.of(SIZES[3]) == (3e-3, "given")
    assert found.swept == ()


@pytest.mark.parametrize("rate", [1e-5, 3.3e-3, 0.9])
def test_rounding_moves_a_rate_by_less_than_a_tenth(rate):
    assert rounded(rate) == pytest.approx(rate, rel=0.095)
    assert rounded(rounded(rate)) == rounded(rate)
    assert rounded(2**-8) == pytest.approx(2**-8, rel=1e-3)
