"""Curves of equal compute, and the laws of the best allocation."""

import numpy as np
import pytest

from data.artifacts.scaling import value_at
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
    for curve in iso_curves(true_points(0.0, 0), PER_PAIR):
        assert len(curve.points) >= LEAST_SIZES
        for point in curve.points:
            assert point.num_features * point.num_tokens * PER_PAIR == pytest.approx(curve.flops)
            assert point.loss == pytest.approx(float(TRUE.loss(point.num_features, point.num_tokens)), rel=1e-6)


def test_minima_lie_near_those_of_the_true_law():
    curves = [curve for curve in iso_curves(true_points(0.0, 0), PER_PAIR) if curve.minimum]

    assert curves
    for curve in curves:
        best = float(TRUE.best_features(curve.flops / PER_PAIR))
        assert curve.minimum.num_features == pytest.approx(best, rel=0.25)
        assert curve.minimum.num_tokens == pytest.approx(curve.flops / PER_PAIR / curve.minimum.num_features)
        assert min(point.loss for point in curve.curve) == pytest.approx(curve.minimum.loss, rel=1e-3)


def test_losses_between_cells_are_read_off_and_never_beyond_them():
    points = true_points(0.0, 0)
    kept = points.tokens_P != COUNTS[3]
    curves = iso_curves(Points(*(column[kept] for column in points)), PER_PAIR)

    assert len(curves) <= MAX_CURVES
    for curve in curves:
        for point in curve.points:
            assert COUNTS[0] * 0.97 <= point.num_tokens <= COUNTS[-1] * 1.03
            assert point.loss == pytest.approx(float(TRUE.loss(point.num_features, point.num_tokens)), rel=0.02)


def test_a_minimum_at_the_end_of_the_sizes_is_none():
    points = true_points(0.0, 0)
    curves = iso_curves(points._replace(loss_P=points.features_P**-0.3), PER_PAIR)

    assert {curve.minimum for curve in curves} == {None}
    assert all("largest size" in curve.why_none and "more features" in curve.why_none for curve in curves)
    curves = iso_curves(points._replace(loss_P=points.tokens_P**-0.3), PER_PAIR)
    assert all("smallest size" in curve.why_none for curve in curves)


def test_two_sizes_have_no_curve():
    points = true_points(0.0, 0)
    kept = np.isin(points.features_P, SIZES[:2])

    assert iso_curves(Points(*(column[kept] for column in points)), PER_PAIR) == ()


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
