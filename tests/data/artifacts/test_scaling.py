import json

import pytest

from data.artifacts.scaling import Cell, GridReport, Prediction, ScalingReport, SweptSize
from data.artifacts.scaling_laws import (
    AllocationLaw,
    CurvePoint,
    Interval,
    IsoCurve,
    IsoPoint,
    LearningRateLaw,
    LossLaw,
    value_at,
)
from data.errors import ArtifactError

SOME = Interval(1.0, 0.9, 1.1)
CURVE = (CurvePoint(1e12, 1.0, 0.9, 1.1), CurvePoint(1e14, 100.0, 90.0, 110.0))
POINT = IsoPoint(512, 1e5, 3.0)
CELL = Cell(
    key="0" * 16,
    num_features=512,
    num_tokens=100_000,
    learning_rate=1e-3,
    learning_rate_from="law",
    num_steps=100,
    flops=1e12,
    diverged=False,
    why_diverged="",
    loss=3.0,
    squared_error=2.0,
    l0=20.0,
    explained_variance=0.7,
    dead_share=0.1,
    rare_share=0.2,
    seconds=3.0,
    held_out=False,
    in_fit=True,
    fitted=3.0,
    residual=0.0,
)
GRID = GridReport(
    architecture="relu",
    l1_coefficient=2.5,
    k=None,
    cells=(CELL,),
    swept=(SweptSize(512, 1000, 1e-3, "", ("a", "b")),),
    learning_rate=LearningRateLaw(1.0, SOME, CURVE, 512, 1024),
    why_no_learning_rate="",
    loss=LossLaw(SOME, SOME, SOME, SOME, SOME, SOME, SOME, CURVE, 1, 0.1),
    features=AllocationLaw(SOME, SOME, CURVE),
    tokens=AllocationLaw(SOME, SOME, CURVE),
    why_no_loss="",
    iso_curves=(
        IsoCurve(1e12, (POINT,), (POINT,), POINT, "", SOME, SOME, SOME),
        IsoCurve(1e13, (POINT,), (), None, "too few"),
    ),
    predictions=(Prediction("a", SOME, 1.0, 0.0, True),),
)


@pytest.mark.parametrize("report", [ScalingReport("none"), ScalingReport("", width=576, grids=(GRID,))])
def test_a_report_comes_back_from_json_as_it_was(report: ScalingReport) -> None:
    assert ScalingReport.from_json(json.loads(json.dumps(report.as_json()))) == report


def test_another_versions_report_is_refused() -> None:
    with pytest.raises(ArtifactError, match="run `monosema scale`"):
        ScalingReport.from_json({"why_none": "", "cells": []})


def test_a_grid_is_named_by_its_objective() -> None:
    topk = GridReport(**{**vars(GRID), "architecture": "topk", "k": 32, "l1_coefficient": None})

    assert (GRID.key, topk.key) == ("relu-2.5", "topk-32")


def test_a_curve_is_read_between_its_points_in_logarithms_and_not_beyond_them() -> None:
    found = value_at(CURVE, 1e13)

    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((10.0, 9.0, 11.0))
    assert value_at(CURVE, 1e14) == CURVE[1]
    assert value_at(CURVE, 0.9e12) is value_at(CURVE, 1.1e14) is value_at((), 1.0) is None
