"""What budgets should buy, and the recipe of it."""

from pathlib import Path

import pytest

from data.artifacts.scaling import GridReport, ScalingReport
from data.artifacts.scaling_advice import advise, flops_per_second
from data.artifacts.scaling_budgets import Budget
from data.errors import ConfigError
from pipeline.recipe import load_recipe
from pipeline.scaling.advised import write_advised_recipe
from pipeline.scaling.flops import flops_per_step
from pipeline.scaling.report import report_grid
from tests.pipeline.scaling.planted import COUNTS, SIZES, TRUE, WIDTH, config_of, measured_grid

PER_PAIR = flops_per_step(1, WIDTH, 1)
GPU = 1e12


@pytest.fixture(scope="module")
def grid() -> GridReport:
    return report_grid(*measured_grid(config_of()), WIDTH)


def test_advice_is_the_best_allocation(grid):
    advice = advise(grid, Budget(3e13, "flops"), gpu_flops=GPU)

    assert advice.features.value == pytest.approx(float(TRUE.best_features(3e13 / PER_PAIR)), rel=0.1)
    assert advice.tokens.value * advice.features.value * PER_PAIR == pytest.approx(3e13, rel=1e-3)
    assert advice.features.low <= advice.features.value <= advice.features.high
    assert advice.num_features % 64 == 0
    assert advice.extrapolation < 1
    law = grid.learning_rate
    assert advice.learning_rate == pytest.approx(law.coefficient * advice.features.value**law.exponent.value)


def test_far_budgets_say_how_far_and_have_wider_intervals(grid):
    near, far = (advise(grid, Budget(amount, "flops"), gpu_flops=GPU) for amount in (1e13, 1e18))
    most = max(cell.flops for cell in grid.cells if cell.in_fit)

    assert far.extrapolation == pytest.approx(1e18 / most)
    assert far.features.high / far.features.low > near.features.high / near.features.low


def test_units_come_to_the_same(grid):
    hours = 3e13 / 3600 / GPU
    by_flops = advise(grid, Budget(3e13, "flops"), gpu_flops=GPU)

    assert advise(grid, Budget(hours, "gpu-hours"), gpu_flops=GPU).features.value == pytest.approx(
        by_flops.features.value
    )
    own = Budget(3e13 / 3600 / flops_per_second(grid), "hours")
    assert advise(grid, own, gpu_flops=GPU).flops == pytest.approx(3e13)
    by_tokens = advise(grid, Budget(by_flops.tokens.value, "tokens"), gpu_flops=GPU)
    assert by_tokens.features.value == pytest.approx(by_flops.features.value, rel=0.01)


@pytest.mark.parametrize(
    "budget", [Budget(10, "flops"), Budget(1e30, "flops"), Budget(1, "tokens"), Budget(1e30, "tokens")]
)
def test_budgets_beyond_the_law_get_a_message_and_no_number(grid, budget):
    with pytest.raises(ConfigError, match="train a grid nearer to it"):
        advise(grid, budget, gpu_flops=GPU)


def test_a_grid_without_a_law_gives_no_advice():
    few = config_of(num_features=SIZES[:2], num_tokens=COUNTS[:3], sweep_features=SIZES[:2], held_out=())

    with pytest.raises(ConfigError, match=r"gives no advice\. Too few cells"):
        advise(report_grid(*measured_grid(few), WIDTH), Budget(1e13, "flops"), gpu_flops=GPU)


def test_the_recipe_of_advice_loads_and_trains_what_is_advised(grid, tmp_path: Path):
    report = ScalingReport("", width=WIDTH, batch_size=512, warmup_steps=20, decay_fraction=0.2, grids=(grid,))
    advice, path = advise(grid, Budget(3e13, "flops"), gpu_flops=GPU), tmp_path / "advised.toml"

    write_advised_recipe(path, load_recipe("sample"), report, grid, advice, None)
    recipe = load_recipe(str(path))

    (sae,) = recipe.train.saes
    assert (sae.architecture, sae.num_features, sae.l1_coefficient) == ("relu", advice.num_features, 2.5)
    assert sae.learning_rate == pytest.approx(advice.learning_rate, rel=0.01)
    assert recipe.train.warmup_fraction * (advice.num_tokens // 512) == pytest.approx(20, rel=0.01)
    assert recipe.tokenize.max_tokens == pytest.approx(advice.num_tokens, rel=0.01)
    assert recipe.train.epochs == 1
    assert recipe.harvest == load_recipe("sample").harvest
    assert recipe.scale.grids == ()
    assert path.read_text().startswith(f"# {advice.num_features:,} features on {advice.num_tokens:,} tokens")
    with pytest.raises(ConfigError, match="is there already"):
        write_advised_recipe(path, recipe, report, grid, advice, None)


def test_more_tokens_than_there_are_become_several_readings(grid, tmp_path: Path):
    report = ScalingReport("", width=WIDTH, batch_size=512, grids=(grid,))
    advice = advise(grid, Budget(3e13, "flops"), gpu_flops=GPU)

    write_advised_recipe(tmp_path / "a.toml", load_recipe("sample"), report, grid, advice, advice.num_tokens // 3)
    recipe = load_recipe(str(tmp_path / "a.toml"))

    assert recipe.train.epochs in (3, 4)
    assert recipe.tokenize.max_tokens is None
