"""The law of the loss on points of known exponents."""

import numpy as np
import pytest

from pipeline.scaling.laws import Points, Surface, fit_loss, interval, why_too_few
from tests.pipeline.scaling.planted import COUNTS, SIZES, TRUE, true_points

SEEDS, LEAST_INSIDE = 100, 90


def test_exponents_and_predictions_lie_within_their_intervals_in_nine_of_ten_seeds():
    names = (*Surface._fields, "exponent")
    inside = dict.fromkeys([*names, "new cell"], 0)
    for seed in range(SEEDS):
        fit = fit_loss(true_points(0.01, seed), seed, num_resamples=100)
        assert not isinstance(fit, str)
        for name in names:
            found = interval(float(getattr(fit.surface, name)), getattr(fit.resampled, name))
            inside[name] += found.low <= getattr(TRUE, name) <= found.high
        new = float(TRUE.loss(2.0 * SIZES[-1], 2.0 * COUNTS[-1])) * np.exp(
            0.01 * np.random.default_rng(10**6 + seed).normal()
        )
        found = fit.predict(2.0 * SIZES[-1], 2.0 * COUNTS[-1], seed)
        inside["new cell"] += found.low <= new <= found.high

    assert min(inside.values()) >= LEAST_INSIDE, inside


def test_points_without_noise_give_the_law_back():
    fit = fit_loss(true_points(0.0, 0), 0, num_resamples=3)

    assert not isinstance(fit, str)
    assert np.array(fit.surface) == pytest.approx(np.array(TRUE), rel=1e-5)
    assert fit.residual_P == pytest.approx(0, abs=1e-8)


def test_the_best_allocation_is_that_of_a_search():
    pairs = 1e9
    n = np.geomspace(10, 1e8, 200_001)
    losses = TRUE.loss(n, pairs / n)

    assert TRUE.best_features(pairs) == pytest.approx(n[losses.argmin()], rel=1e-3)
    assert TRUE.best_features(pairs) * TRUE.best_tokens(pairs) == pytest.approx(pairs)
    assert TRUE.best_loss(pairs) == pytest.approx(losses.min(), rel=1e-9)
    above = [TRUE.best_loss(pairs * factor) - TRUE.floor for factor in (1.0, 100.0)]
    assert above[1] / above[0] == pytest.approx(100 ** -float(TRUE.exponent))


@pytest.mark.parametrize(("sizes", "counts"), [(2, 6), (6, 2), (3, 2)])
def test_too_few_cells_are_told(sizes, counts):
    points = true_points(0.01, 0)
    kept = np.isin(points.features_P, SIZES[:sizes]) & np.isin(points.tokens_P, COUNTS[:counts])

    why = why_too_few(Points(*(column[kept] for column in points)))

    assert f"there are {sizes * counts}, of {sizes} sizes and {counts} token counts" in why


def test_without_a_demand_in_the_losses_none_is_found():
    points, plain = true_points(0.0, 0), TRUE._replace(demand=np.float64(0.0))

    fit = fit_loss(points._replace(loss_P=plain.loss(points.features_P, points.tokens_P)), 0, num_resamples=3)

    assert not isinstance(fit, str)
    assert fit.surface.demand == pytest.approx(0.0, abs=1e-4)


def test_noise_that_drowns_the_law_is_told():
    points = true_points(0.0, 0)
    noise = np.exp(0.5 * np.random.default_rng(3).standard_normal(len(points.loss_P)))

    why = fit_loss(points._replace(loss_P=300 * noise), 0, num_resamples=20)

    assert isinstance(why, str)


def test_enough_cells_are_told_as_such():
    assert why_too_few(true_points(0.01, 0)) == ""


def test_losses_that_do_not_bend_have_no_law():
    points = true_points(0.0, 0)

    why = fit_loss(points._replace(loss_P=3.0 + 0.5 * np.log(points.features_P) + 0.2 * np.log(points.tokens_P)), 0, 5)

    assert isinstance(why, str)
    assert "no power law" in why


def test_an_interval_holds_its_value_and_ignores_what_is_not_finite():
    found = interval(5.0, np.array([1.0, 2.0, np.inf, np.nan]))

    assert (found.low, found.value, found.high) == (pytest.approx(1.025), 5.0, 5.0)
