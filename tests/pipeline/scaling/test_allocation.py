"""Curves of equal compute, and the laws of the best allocation."""

import numpy as np
import pytest

from data.artifacts.scaling_laws import value_at
from pipeline.scaling.allocation import LEAST_SIZES, MAX_CURVES, allocation_law, iso_curves, loss_law
from pipeline.scaling.flops import flops_per_step
from pipeline.scaling.laws import Fit, Points, Surface, fit_loss
from tests.pipeline.scaling.planted import COUNTS, SIZES, TRUE, WIDTH, true_points

PER_PAIR = flops_per_step(1, WIDTH, 1)


@pytest.fixture(scope="module")
def fit() -> Fit:
    found = fit_loss(true_points(0.005, 1), 1, num_resamples=40)
    assert not isinstance(found, str)
    return found


def test_points_of_a_curve_have_its_compute_and_lie_on_measured_losses():
    for curve in iso_curves(true_points(0.0, 0), PER_PAIR, 0):
        assert len(curve.points) >= LEAST_SIZES
        for point in curve.points:
            assert point.num_features * point.num_tokens * PER_PAIR == pytest.approx(curve.flops)
            assert point.loss == pytest.approx(float(TRUE.loss(point.num_features, point.num_tokens)), rel=1e-6)


def test_minima_lie_near_those_of_the_true_law():
    curves = [curve for curve in iso_curves(true_points(0.0, 0), PER_PAIR, 0) if curve.minimum]

    assert curves
    for curve in curves:
        best = float(TRUE.best_features(curve.flops / PER_PAIR))
        assert curve.minimum.num_features == pytest.approx(best, rel=0.25)
        assert curve.minimum.num_tokens == pytest.approx(curve.flops / PER_PAIR / curve.minimum.num_features)
        assert min(point.loss for point in curve.curve) == pytest.approx(curve.minimum.loss, rel=1e-3)


def test_losses_between_cells_are_read_off_and_never_beyond_them():
    points = true_points(0.0, 0)
    kept = points.tokens_P != COUNTS[3]
    curves = iso_curves(Points(*(column[kept] for column in points)), PER_PAIR, 0)

    assert len(curves) <= MAX_CURVES
    for curve in curves:
        for point in curve.points:
            assert COUNTS[0] * 0.97 <= point.num_tokens <= COUNTS[-1] * 1.03
            assert point.loss == pytest.approx(float(TRUE.loss(point.num_features, point.num_tokens)), rel=0.02)


def test_a_minimum_at_the_end_of_the_sizes_is_none():
    points = true_points(0.0, 0)
    curves = iso_curves(points._replace(loss_P=points.features_P**-0.3), PER_PAIR, 0)

    assert {curve.minimum for curve in curves} == {None}
    assert all("largest size" in curve.why_none and "more features" in curve.why_none for curve in curves)
    curves = iso_curves(points._replace(loss_P=points.tokens_P**-0.3), PER_PAIR, 0)
    assert all("smallest size" in curve.why_none for curve in curves)


def test_intervals_of_minima_hold_the_true_ones():
    """Of curves whose noise alone is resampled: the truth is the minimum of the same curve without noise."""
    true = {curve.flops: curve.minimum for curve in iso_curves(true_points(0.0, 0), PER_PAIR, 0)}
    held, tried = 0, 0
    for seed in range(40):
        for curve in iso_curves(true_points(0.01, seed), PER_PAIR, seed):
            if curve.minimum is None or true[curve.flops] is None:
                continue
            tried += 1
            held += curve.minimum_features.low <= true[curve.flops].num_features <= curve.minimum_features.high
            assert curve.minimum_tokens.low <= curve.minimum.num_tokens <= curve.minimum_tokens.high
            assert curve.minimum_loss.low <= curve.minimum.loss <= curve.minimum_loss.high
            pairs = curve.minimum_features.high * curve.minimum_tokens.low
            assert pairs * PER_PAIR == pytest.approx(curve.flops)

    assert tried > 100
    assert 0.9 <= held / tried < 1


def test_noise_widens_the_interval_of_a_minimum():
    def width(noise: float) -> float:
        curves = [one for one in iso_curves(true_points(noise, 3), PER_PAIR, 3) if one.minimum]
        return float(np.mean([np.log(one.minimum_features.high / one.minimum_features.low) for one in curves]))

    assert 0 < width(0.001) < width(0.01)


def test_three_sizes_have_minima_and_no_intervals():
    points = true_points(0.0, 0)
    kept = np.isin(points.features_P, SIZES[1:4])
    curves = iso_curves(Points(*(column[kept] for column in points)), PER_PAIR, 0)

    assert any(curve.minimum for curve in curves)
    assert {curve.minimum_features for curve in curves} == {None}


def test_two_sizes_have_no_curve():
    points = true_points(0.0, 0)
    kept = np.isin(points.features_P, SIZES[:2])

    assert iso_curves(Points(*(column[kept] for column in points)), PER_PAIR, 0) == ()


def test_laws_against_compute_are_those_of_the_surface(fit):
    points = true_points(0.005, 1)
    loss = loss_law(fit, points, PER_PAIR)
    features = allocation_law(fit, points, PER_PAIR, Surface.best_features)
    tokens = allocation_law(fit, points, PER_PAIR, Surface.best_tokens)

    assert features.exponent.value + tokens.exponent.value == pytest.approx(1)
    for flops in (loss.curve[0].x, loss.curve[-1].x, loss.beyond[-1].x):
        law = loss if flops <= loss.curve[-1].x else None
        at = value_at(law.curve if law else loss.beyond, flops)
        assert at.value == pytest.approx(loss.floor.value + loss.scale.value * flops**-loss.exponent.value)
        assert at.low <= at.value <= at.high
        best = features.coefficient.value * flops**features.exponent.value
        assert best == pytest.approx(float(fit.surface.best_features(flops / PER_PAIR)))
        others = tokens.coefficient.value * flops**tokens.exponent.value
        assert best * others * PER_PAIR == pytest.approx(flops)
    assert loss.curve[-1].x == loss.beyond[0].x
    assert loss.exponent.low <= float(TRUE.exponent) <= loss.exponent.high
    assert loss.num_cells == len(points.loss_P)
    assert loss.residual_rms == pytest.approx(0.005, rel=0.5)
