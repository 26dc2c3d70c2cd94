"""The report of a grid whose losses are planted."""

import json
import math

import pytest

from data.artifacts.scaling import ScalingReport
from pipeline.scaling.cells import Planned
from pipeline.scaling.flops import flops_per_step
from pipeline.scaling.report import report_grid
from tests.pipeline.scaling.planted import (
    BATCH,
    COUNTS,
    RATES,
    SIZES,
    TRUE,
    WIDTH,
    config_of,
    measured_grid,
    planted_loss,
)


def report_of(loss=planted_loss, **changes):
    grid, keys, measured = measured_grid(config_of(**changes), loss)
    return report_grid(grid, keys, measured, WIDTH)


def test_every_cell_is_told_and_the_best_of_each_pair_is_fitted():
    report = report_of()

    assert len(report.cells) == len(SIZES) * len(COUNTS) + 3 * len(RATES)
    fitted = [(cell.num_features, cell.num_tokens) for cell in report.cells if cell.in_fit]
    assert len(fitted) == len(set(fitted)) == 34
    for cell in report.cells:
        assert cell.flops == cell.num_steps * flops_per_step(BATCH, WIDTH, cell.num_features)
        assert cell.num_tokens == cell.num_steps * BATCH
        same = [o for o in report.cells if (o.num_features, o.num_tokens) == (cell.num_features, cell.num_tokens)]
        if cell.in_fit:
            assert cell.loss == min(one.loss for one in same)
            assert cell.residual == pytest.approx(cell.loss / cell.fitted - 1)
    assert report.loss.num_cells == 34
    assert json.loads(json.dumps(ScalingReport("", grids=(report,)).as_json()))["grids"][0]["k"] is None


def test_held_out_cells_are_predicted_and_change_no_fit():
    report = report_of()
    held = {(SIZES[-1], COUNTS[-1]), (SIZES[2], COUNTS[3])}

    def other(cell: Planned) -> float:
        return planted_loss(cell) * (3 if cell.held_out else 1)

    changed = report_of(other)

    assert {(c.num_features, c.num_tokens) for c in report.cells if c.held_out} == held
    assert len(report.predictions) == 2
    assert all(one.inside and abs(one.error) < 0.01 for one in report.predictions)
    assert (changed.loss, changed.features, changed.tokens) == (report.loss, report.features, report.tokens)
    assert changed.iso_curves == report.iso_curves
    assert changed.learning_rate == report.learning_rate
    assert all(not one.inside and one.error > 1.9 for one in changed.predictions)


def test_cells_that_diverged_are_told_and_in_no_fit():
    def loss(cell: Planned) -> float:
        return math.nan if cell.num_features == SIZES[1] and cell.num_tokens == COUNTS[4] else planted_loss(cell)

    report = report_of(loss)
    (cell,) = [one for one in report.cells if one.diverged]

    assert (cell.loss, cell.in_fit, cell.fitted, cell.why_diverged) == (None, False, None, "It blew up.")
    assert report.loss.num_cells == 33
    assert cell not in report.usable


def test_too_few_cells_are_points_only():
    report = report_of(
        num_features=SIZES[:3],
        num_tokens=COUNTS[:3],
        sweep_tokens=COUNTS[1],
        held_out=((SIZES[0], COUNTS[0]), (SIZES[1], COUNTS[0])),
    )

    assert (report.loss, report.features, report.tokens, report.predictions) == (None, None, None, ())
    assert report.why_no_loss.startswith("Too few cells")
    assert report.learning_rate is not None
    assert {cell.fitted for cell in report.cells} == {None}


def test_the_true_exponents_are_near():
    report = report_of()

    assert report.loss.features_exponent.value == pytest.approx(float(TRUE.features_exponent), rel=0.1)
    assert report.key == "relu-2.5"
