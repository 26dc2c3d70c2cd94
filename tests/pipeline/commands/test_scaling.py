"""What `monosema scale` prints, and what it refuses before anything is trained."""

from pathlib import Path
from typing import Any

import pytest

from data.artifacts.scaling import ScalingReport
from data.errors import ConfigError
from data.layout import StorePaths
from data.manifests import load_manifest
from pipeline.commands.plan import scaling_text
from pipeline.commands.scaling import Asked, check_asked, print_scaling
from pipeline.preflight.model import ModelFound
from pipeline.preflight.scaling import scaling_problems
from pipeline.recipe import ReadRecipe, Recipe, load_recipe, read_recipe
from pipeline.scaling import room
from pipeline.scaling.budget import Budget
from pipeline.scaling.report import report_grid
from tests.pipeline.scaling.planted import COUNTS, SIZES, WIDTH, config_of, measured_grid, planted_loss
from tests.support.fakes import put_manifest

SCALING, NOTHING = load_recipe("sample-scaling"), Asked(None, None)


def printed(
    store: StorePaths,
    capsys: pytest.CaptureFixture[str],
    asked: Asked = NOTHING,
    loss: Any = planted_loss,
    corpus_tokens: int = 10**12,
    **changes: Any,
) -> str:
    """What is printed of a planted grid."""
    grid = report_grid(*measured_grid(config_of(**changes), loss), WIDTH)
    report = ScalingReport(
        "", width=WIDTH, batch_size=512, warmup_steps=20, num_held_out_tokens=16_000, seconds=90.0, grids=(grid,)
    )
    paths = store.run("test")
    put_manifest(paths, "tokenize", {"num_corpus_tokens": corpus_tokens})
    put_manifest(paths, "scale", report.as_json())
    try:
        print_scaling(SCALING, paths, load_manifest(paths.stage("scale")), asked)
    finally:
        out = capsys.readouterr().out
    return out


def test_the_grid_its_laws_and_its_trials_are_printed(store, capsys):
    out = printed(store, capsys)

    assert "relu-2.5: loss on 16,000 held-out tokens" in out
    assert "extrapolated to the others" in out
    assert "fitted to 34 cells" in out
    assert "Held-out cells: 2 of 2 lie within the interval predicted." in out
    assert f"{SIZES[-1]:,} features, {COUNTS[-1]:,} tokens: predicted" in out
    assert "the measured minimum is at" in out
    assert "Trained in 1:30 in all." in out


def test_advice_says_its_intervals_and_how_far_it_extrapolates(store, capsys):
    near = printed(store, capsys, Asked(Budget(1e13, "flops"), None))
    far = printed(store, capsys, Asked(Budget(200, "gpu-hours"), None))

    assert "Within the compute of the grid's cells: no extrapolation." in near
    assert "at 4e+14 FLOPs each second of a GPU" in far
    assert "times the compute of the largest cell that was fitted. So far out it is a direction" in far
    assert "GB in training" in far


def test_a_recipe_is_written(store, capsys, tmp_path: Path):
    path = tmp_path / "mine.toml"

    out = printed(store, capsys, Asked(Budget(1e13, "flops"), path))

    assert f"monosema run --recipe {path}" in out
    assert load_recipe(str(path)).train.saes[0].architecture == "relu"
    assert "reads them" not in out


def test_more_tokens_than_the_corpus_has_are_said(store, capsys, tmp_path: Path):
    out = printed(store, capsys, Asked(Budget(1e20, "flops"), tmp_path / "far.toml"), corpus_tokens=1_000_000)

    assert "The corpus has 1,000,000 tokens: the recipe reads them" in out
    assert load_recipe(str(tmp_path / "far.toml")).train.epochs > 1


def test_too_few_cells_are_points_and_give_no_advice(store, capsys):
    few = {"num_features": SIZES[:2], "num_tokens": COUNTS[:3], "sweep_features": SIZES[:2], "held_out": ()}

    assert "Too few cells for a law, points only" in printed(store, capsys, **few)
    with pytest.raises(ConfigError, match="gives no advice"):
        printed(store, capsys, Asked(Budget(1e13, "flops"), None), **few)


def test_cells_that_diverged_are_counted(store, capsys):
    out = printed(
        store, capsys, loss=lambda cell: float("nan") if cell.num_features == SIZES[5] else planted_loss(cell)
    )

    assert "6 of 51 cells diverged and are in no fit." in out


@pytest.mark.parametrize(
    ("recipe", "budget", "write", "message"),
    [
        ("own-text", None, None, r"asks for no grid: give it \[\[scale.grids\]\]"),
        ("sample", None, "new.toml", "--write-recipe needs a --budget"),
        ("sample", "1e15FLOPs", __file__, "is there already"),
        ("sample", "a lot", None, "is no budget"),
        ("sample", "0tokens", None, "outside all sense"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_training(recipe, budget, write, message):
    with pytest.raises(ConfigError, match=message):
        check_asked(read_recipe(recipe), budget, Path(write) if write else None)


def test_a_budget_is_read():
    assert check_asked(read_recipe("sample"), "3hours", None) == Asked(Budget(3.0, "hours"), None)


def test_plan_says_what_a_grid_needs():
    assert scaling_text(load_recipe("own-text").scale, WIDTH) == "none (scale.grids)"
    assert scaling_text(SCALING.scale, WIDTH).startswith("60 cells, 2.7e+14 FLOPs, 1.3 GB with all sizes side by side")


def problems_of(recipe: Recipe, store: StorePaths) -> list[str]:
    model = ModelFound(config={"hidden_size": WIDTH})
    return scaling_problems(ReadRecipe(recipe, [], frozenset()), store.run("test"), model)


def test_a_grid_that_does_not_fit_is_refused_before_a_run(store, monkeypatch):
    assert problems_of(SCALING, store) == []
    monkeypatch.setattr(
        "pipeline.preflight.scaling.usable_memory", lambda: room.lane_bytes(SCALING.scale, 4096, COUNTS, WIDTH)
    )
    (problem,) = problems_of(SCALING, store)
    assert "16,384 features need" in problem
    assert "4,096 of its sizes fits" in problem


def test_a_checkpoint_that_the_disk_cannot_hold_is_refused(store, monkeypatch):
    monkeypatch.setattr(
        "pipeline.preflight.scaling.shutil.disk_usage", lambda place: type("Usage", (), {"free": 10**6})
    )

    assert "the checkpoint of the grids of scaling laws needs" in problems_of(SCALING, store)[0]
