"""Stage `scale` on planted rows: what it keeps, what it trains again, and what it says."""

import itertools
import json
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data.artifacts.scaling import ScalingReport
from data.errors import ArtifactError, ConfigError, CorpusError
from data.layout import RunPaths, StorePaths
from pipeline.recipe import Recipe, make_recipe
from pipeline.stages import scale
from tests.support.fakes import put_manifest
from tests.support.harvested import planted_rows, put_harvest

WIDTH = 12
GRID: dict[str, Any] = {
    "architecture": "relu",
    "l1_coefficient": 0.5,
    "num_features": [8, 16, 32],
    "num_tokens": [384, 768, 1536],
    "learning_rates": [1e-3, 4e-3, 16e-3, 64e-3],
    "sweep_features": [8, 16],
    "sweep_tokens": 768,
    "held_out": [[32, 1536]],
}


def recipe_of(*grids: dict[str, Any], **options: Any) -> Recipe:
    return make_recipe(
        {
            "name": "test",
            "corpus": {"source": "sample"},
            "model": {"name": "tiny", "source": "sample", "layer": 1},
            "train": {"saes": [{"architecture": "relu", "num_features": 8}]},
            "scale": {"batch_size": 32, "warmup_steps": 3, "held_out_tokens": 300, "rare_tokens": 4, "grids": grids}
            | options,
        }
    )


@pytest.fixture
def paths(store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    """A run that is harvested, and reads held-out rows of the same kind."""
    paths = store.run("test")
    for stage in ("fetch", "tokenize"):
        put_manifest(paths, stage, {})
    put_harvest(paths, planted_rows(3000, WIDTH, 30, seed=0))
    held_out_ND = planted_rows(300, WIDTH, 30, seed=1).float()
    monkeypatch.setattr(scale, "read_held_out", lambda *arguments: held_out_ND)
    return paths


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the cells that are trained, as they end."""
    keys: list[str] = []
    take = scale._Cells._take

    def watched(self: Any, cells: Any, x_ND: Any, ended: Any) -> None:
        keys.append(ended.key)
        take(self, cells, x_ND, ended)

    monkeypatch.setattr(scale._Cells, "_take", watched)
    return keys


def run(recipe: Recipe, paths: RunPaths) -> ScalingReport:
    return ScalingReport.from_json(json.loads(json.dumps(scale.run(recipe, paths).counts)))


def test_a_grid_is_swept_trained_and_reported(paths, trained, monkeypatch):
    ticks = itertools.count()  # a clock of its own: how long a step takes is left to chance
    monkeypatch.setattr("pipeline.training.lane.time", SimpleNamespace(perf_counter=lambda: next(ticks)))

    report = run(recipe_of(GRID), paths)
    (grid,) = report.grids

    assert (report.width, report.num_rows, report.num_held_out_tokens, report.why_none) == (WIDTH, 3000, 300, "")
    pairs = {(cell.num_features, cell.num_tokens) for cell in grid.cells}
    assert len(pairs) == 9
    assert sum(cell.learning_rate_from == "swept" for cell in grid.cells) >= 8
    assert sorted(trained) == sorted(cell.key for cell in grid.cells)
    for cell in grid.cells:
        assert not cell.diverged
        assert cell.squared_error < cell.loss < WIDTH
        assert 0 <= cell.dead_share + cell.rare_share <= 1
    assert 0 < report.seconds < sum(cell.seconds for cell in grid.cells)
    by_tokens = {c.num_tokens: c.loss for c in grid.cells if c.num_features == 32}
    assert by_tokens[384] > by_tokens[768] > by_tokens[1536]


def test_cells_are_kept_and_only_new_ones_are_trained(paths, trained):
    first = run(recipe_of(GRID), paths)
    trained.clear()
    more = GRID | {"num_tokens": [*GRID["num_tokens"], 192]}

    second = run(recipe_of(more), paths)

    assert {cell.num_tokens for cell in second.grids[0].cells if cell.key in trained} == {192}
    known = {cell.key: cell.loss for cell in first.grids[0].cells}
    assert {c.key: c.loss for c in second.grids[0].cells if c.key in known} == known


def test_a_cell_alone_is_the_same_as_in_a_grid(paths, store):
    cells = {cell.key: cell for cell in run(recipe_of(GRID), paths).grids[0].cells}
    one = max(
        (c for c in cells.values() if c.num_features == 32 and c.num_tokens == 768), key=lambda c: c.learning_rate
    )
    for file in store.scaling.glob("*.json"):
        file.unlink()
    alone = {"num_features": [32], "num_tokens": [768], "learning_rates": [one.learning_rate]}

    (found,) = run(recipe_of({"architecture": "relu", "l1_coefficient": 0.5} | alone), paths).grids[0].cells

    assert found.key == one.key
    assert found.loss == pytest.approx(one.loss, rel=1e-6)
    assert found.learning_rate_from == "given"


def test_a_killed_run_goes_on(paths, trained, monkeypatch):
    whole = run(recipe_of(GRID), paths)
    for file in paths.store.scaling.glob("*.json"):
        file.unlink()
    trained.clear()
    save = scale.CellStore.save

    def kill(self: Any, key: str, measured: Any) -> None:
        save(self, key, measured)
        if len(trained) == 12:
            raise KeyboardInterrupt

    monkeypatch.setattr(scale.CellStore, "save", kill)
    recipe = recipe_of(GRID, rare_tokens=4, checkpoint_seconds=1e-9, max_hours=3.0)
    shutil.rmtree(paths.stage("scale"))
    with pytest.raises(KeyboardInterrupt):
        scale.run(recipe, paths)
    monkeypatch.setattr(scale.CellStore, "save", save)
    before = set(trained)
    trained.clear()

    again = run(recipe, paths)

    assert not before & set(trained)
    assert {c.key: c.loss for c in again.grids[0].cells} == pytest.approx(
        {c.key: c.loss for c in whole.grids[0].cells}, rel=1e-6
    )


def test_objectives_are_never_mixed(paths):
    topk = {
        "architecture": "topk",
        "k": 3,
        "num_features": [8, 16],
        "num_tokens": [384, 768],
        "learning_rates": [4e-3],
    }

    first, second = run(recipe_of(GRID, topk), paths).grids

    assert (first.key, second.key) == ("relu-0.5", "topk-3")
    assert not {cell.key for cell in first.cells} & {cell.key for cell in second.cells}
    for cell in second.cells:
        assert cell.loss == cell.squared_error
        assert cell.l0 <= 3


def test_a_cell_that_diverges_is_told(paths):
    wild = GRID | {"learning_rates": [1.0], "sweep_features": [], "sweep_tokens": None, "held_out": []}

    (grid,) = run(recipe_of(wild), paths).grids

    diverged = [cell for cell in grid.cells if cell.diverged]
    assert diverged
    assert all("that of no features at all" in cell.why_diverged for cell in diverged)


def test_too_little_memory_makes_several_readings_of_the_same_cells(paths, monkeypatch):
    together = run(recipe_of(GRID), paths)
    for file in paths.store.scaling.glob("*.json"):
        file.unlink()
    shutil.rmtree(paths.stage("scale"))
    need = scale.lane_bytes(recipe_of(GRID).scale, 32, GRID["num_tokens"], WIDTH)
    monkeypatch.setattr(scale, "free_memory", lambda device: need)

    apart = run(recipe_of(GRID), paths)

    assert {c.key: c.loss for c in apart.grids[0].cells} == pytest.approx(
        {c.key: c.loss for c in together.grids[0].cells}, rel=1e-6
    )


def test_no_grid_is_told_and_nothing_is_read(paths):
    report = run(recipe_of(), paths)

    assert report == ScalingReport("The recipe asks for no grid of scaling laws (scale.grids).")


def test_what_this_machine_cannot_train_is_refused(paths, monkeypatch):
    monkeypatch.setattr(scale, "free_memory", lambda device: 1000)
    with pytest.raises(ConfigError, match="none of its sizes fits"):
        scale.run(recipe_of(GRID), paths)


def test_what_is_measured_needs_no_room(paths, monkeypatch):
    run(recipe_of(GRID), paths)
    monkeypatch.setattr(scale, "free_memory", lambda device: 1000)

    assert run(recipe_of(GRID | {"held_out": []}), paths).grids[0].predictions == ()


def test_hours_are_those_of_the_cells_that_are_missing(paths, monkeypatch):
    monkeypatch.setattr(scale, "flops_per_second", lambda *arguments: 1.0)
    with pytest.raises(ConfigError, match=r"not trained yet take about .* hours .* more than scale\.max_hours=1e-12"):
        scale.run(recipe_of(GRID, max_hours=1e-12), paths)
    run(recipe_of(GRID, max_hours=1e9), paths)

    known = GRID | {"held_out": []}
    run(recipe_of(known, max_hours=1e-12), paths)
    with pytest.raises(ConfigError, match=r"not trained yet"):
        scale.run(recipe_of(known | {"num_tokens": [*GRID["num_tokens"], 192]}, max_hours=1e-12), paths)


def test_a_damaged_cell_is_told(paths, store):
    run(recipe_of(GRID), paths)
    file = next(store.scaling.glob("*.json"))
    file.write_text("{")

    with pytest.raises(ArtifactError, match=r"is damaged .* delete it"):
        scale.run(recipe_of(GRID, held_out_tokens=300, decay_fraction=0.2, batch_size=32, dead_window=7), paths)


def test_activations_without_spread_are_refused(store):
    paths = store.run("flat")
    for stage in ("fetch", "tokenize"):
        put_manifest(paths, stage, {})
    put_harvest(paths, torch.ones(100, WIDTH).bfloat16())

    with pytest.raises(CorpusError, match="no spread"):
        scale.run(recipe_of(GRID), paths)
