"""What `monosema scale` prints, and what it refuses before anything is trained."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data.artifacts.scaling import ScalingReport
from data.artifacts.scaling_budgets import Budget
from data.errors import ConfigError, PreflightError
from data.layout import StorePaths
from data.manifests import Manifest, load_manifest, write_manifest
from pipeline.commands.plan import print_plan, scaling_text
from pipeline.commands.scaling import Asked, check_asked, print_scaling
from pipeline.preflight.check import refuse_unfit
from pipeline.preflight.model import ModelFound
from pipeline.preflight.scaling import hours_problems, scaling_problems
from pipeline.recipe import ReadRecipe, Recipe, load_recipe, read_recipe
from pipeline.scaling import room
from pipeline.scaling.cells import CellKeys, CellStore, Measured, known_cells
from pipeline.scaling.report import report_grid
from pipeline.stages import harvest, scale
from tests.pipeline.scaling.planted import COUNTS, SIZES, WIDTH, config_of, measured_grid, planted_loss
from tests.support.fakes import put_manifest
from tests.support.models import save_tiny_model

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
    assert re.search(r"the measured minimum is at [\d,]+ \[[\d,]+, [\d,]+\] features and [\d,]+ \[", out)
    assert "Trained in 1:30 in all." in out


def test_advice_says_its_intervals_and_how_far_it_extrapolates(store, capsys):
    near = printed(store, capsys, Asked(Budget(1e13, "flops"), None))
    far = printed(store, capsys, Asked(Budget(200, "gpu-hours"), None))

    assert "Within the compute of the grid's cells: no extrapolation." in near
    assert "at 4e+14 FLOPs each second of a GPU" in far
    assert "times the compute of the largest cell that was fitted. So far out it is a direction" in far
    assert "GB in training" in far


def test_a_learning_rate_beyond_the_swept_sizes_is_said_to_be_extrapolated(store, capsys):
    within = printed(store, capsys, Asked(Budget(3e11, "flops"), None))
    beyond = printed(store, capsys, Asked(Budget(1e15, "flops"), None))

    assert re.search(r"learning rate [\d.e-]+, by its law\n", within)
    assert re.search(r"by its law, extrapolated: it was swept from 512 to 2,048 features\n", beyond)


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
    assert scaling_text(load_recipe("own-text"), WIDTH) == "none (scale.grids)"
    said = scaling_text(SCALING, WIDTH)
    assert said.startswith("60 cells, 2.7e+14 FLOPs, 1.3 GB with all sizes side by side, about 7.4 hours here")
    assert said.endswith("(at most scale.max_hours=12)")
    nowhere = SCALING.model_copy(update={"model": SCALING.model.model_copy(update={"device": "cuda:99"})})
    assert "hours" not in scaling_text(nowhere, WIDTH)


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that needs no timing."""
    monkeypatch.setattr("pipeline.preflight.scaling.flops_per_second", lambda *arguments: 1e10)


def asked_of(recipe: Recipe, store: StorePaths, find: Any = scaling_problems) -> list[str]:
    model = ModelFound(config={"hidden_size": WIDTH})
    return list(find(ReadRecipe(recipe, [], frozenset()), store.run("test"), model))


def with_hours(most: float) -> Recipe:
    return SCALING.model_copy(update={"scale": SCALING.scale.model_copy(update={"max_hours": most})})


def test_a_grid_of_too_many_hours_is_refused_before_a_run(store):
    assert asked_of(SCALING, store, hours_problems) == []

    (problem,) = asked_of(with_hours(3.0), store, hours_problems)

    assert "take about 7.4 hours on this machine, more than scale.max_hours=3" in problem
    assert "sizes up to 4,096 or token counts up to 262,144 would fit" in problem


def put_trained(store: StorePaths, recipe: Recipe) -> Manifest:
    """A run that is harvested, and whose grids are trained; returns the harvest."""
    paths = store.run(recipe.name)
    put_manifest(paths, "harvest", {}, harvest._config(recipe))
    rows = load_manifest(paths.stage("harvest"))
    put_manifest(paths, "scale", {}, scale._config(recipe))
    trained = load_manifest(paths.stage("scale"))
    write_manifest(paths.stage("scale"), replace(trained, inputs={"harvest": rows.key}))
    return rows


@pytest.mark.parametrize(
    ("change", "num_problems"),
    [({}, 0), ({"scale": {"gpu_flops": 1e15}}, 0), ({"model": {"layer": 3}}, 1), ({"scale": {"warmup_steps": 7}}, 1)],
)
def test_only_what_is_trained_already_takes_no_hours(store, change, num_problems):
    put_trained(store, SCALING)
    recipe = with_hours(3.0)
    changed = {name: getattr(recipe, name).model_copy(update=fields) for name, fields in change.items()}

    assert len(asked_of(recipe.model_copy(update=changed), store, hours_problems)) == num_problems


def test_every_hook_takes_the_hours_of_all_grids(store):
    saes = (SCALING.train.saes[0], SCALING.train.saes[0].model_copy(update={"layer": SCALING.model.layer - 1}))
    train = SCALING.train.model_copy(update={"saes": saes})
    first, second = both = SCALING.model_copy(update={"train": train}).by_place()
    whole = SCALING.model_copy(update={"train": train, "scale": with_hours(7.0).scale})
    assert [one.model.layer for one in both] == [SCALING.model.layer, SCALING.model.layer - 1]

    (problem,) = asked_of(whole, store, hours_problems)
    assert "take about 14.9 hours on this machine (2 hooks, 7.4 hours each), more than scale.max_hours=7" in problem
    assert "sizes up to 4,096 or token counts up to 262,144 would fit" in problem

    put_trained(store, second)
    assert asked_of(whole, store, hours_problems) == []
    put_trained(store, first)
    strict = whole.model_copy(update={"scale": with_hours(3.0).scale})
    assert asked_of(strict, store, hours_problems) == []


def test_where_another_run_has_cells_of_the_grids_the_stage_is_left_to_tell(store):
    rows = put_trained(store, SCALING.model_copy(update={"name": "another"}))
    assert asked_of(with_hours(3.0), store, hours_problems) != []
    cell = known_cells(SCALING.scale.grids[0])[0]
    measured = Measured(True, "It was made so.", 1.0, 1.0)
    CellStore(store.scaling).save(CellKeys(SCALING.scale, rows.key, SCALING.seed).of(cell), measured)

    assert asked_of(with_hours(3.0), store, hours_problems) == []


def test_neither_a_run_nor_a_plan_goes_on_with_too_many_hours(store, tmp_path, capsys):
    save_tiny_model(tmp_path / "model")
    (tmp_path / "texts").mkdir()
    for number in range(20):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"Text number {number} of some.")
    recipe = tmp_path / "long.toml"
    recipe.write_text(
        f'''name = "long"
        corpus = {{source = "text", path = "{tmp_path / "texts"}", held_out_fraction = 0.3}}
        model = {{name = "tiny", source = "{tmp_path / "model"}", layer = 1, dtype = "float32"}}
        tokenize = {{context_length = 64}}
        train = {{batch_size = 16, saes = [{{architecture = "relu", num_features = 8}}]}}
        [scale]
        max_hours = 1e-9
        grids = [{{num_features = [8, 16], num_tokens = [65536], learning_rates = [1e-3]}}]'''
    )
    for check in (refuse_unfit, print_plan):
        with pytest.raises(PreflightError, match=r"more than scale\.max_hours=1e-09"):
            check(read_recipe(str(recipe)), store.run("long"))
    assert "2 cells" in capsys.readouterr().out
    assert not store.root.exists()


def test_a_grid_that_does_not_fit_is_refused_before_a_run(store, monkeypatch):
    assert asked_of(SCALING, store) == []
    monkeypatch.setattr(
        "pipeline.preflight.scaling.free_memory", lambda device: room.lane_bytes(SCALING.scale, 4096, COUNTS, WIDTH)
    )
    (problem,) = asked_of(SCALING, store)
    assert "16,384 features need" in problem
    assert "4,096 of its sizes fits" in problem


def test_a_checkpoint_that_the_disk_cannot_hold_is_refused(store, monkeypatch):
    monkeypatch.setattr(
        "pipeline.preflight.scaling.shutil.disk_usage", lambda place: type("Usage", (), {"free": 10**6})
    )

    assert "the checkpoint of the grids of scaling laws needs" in asked_of(SCALING, store)[0]


def test_memory_is_asked_of_the_device_that_trains(store, monkeypatch):
    monkeypatch.setattr("pipeline.preflight.scaling.device_problems", lambda name: [])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda name: {"cuda:1": (10**8, 10**11)}[name])
    there = SCALING.model_copy(update={"model": SCALING.model.model_copy(update={"device": "cuda:1"})})

    (problem,) = asked_of(there, store)

    assert "16,384 features need 0.6 GB in training, there are 0.1 GB of memory" in problem
