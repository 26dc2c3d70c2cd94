"""Section [scale] of the recipe, and recipes as TOML."""

import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.recipe import load_recipe, make_recipe, recipe_names
from pipeline.recipe.scaling import GridConfig, ScaleConfig
from pipeline.recipe.writing import to_toml

ROOT = Path(__file__).parents[3]
GRID: dict[str, Any] = {"num_features": (64, 128), "num_tokens": (65_536, 131_072), "learning_rates": (1e-3,)}
SWEEP: dict[str, Any] = {"learning_rates": (1e-3, 2e-3, 4e-3), "sweep_features": (64,), "sweep_tokens": 65_536}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_features": (64, 64)}, "num_features names one twice"),
        ({"k": 3}, "takes no k"),
        ({"architecture": "topk"}, "needs k, below all of num_features"),
        ({"architecture": "topk", "k": 64}, "needs k, below all of num_features"),
        ({"learning_rates": (1e-3, 2e-3)}, "at least three to sweep"),
        ({"learning_rates": (1e-3, 2e-3, 4e-3)}, "need sweep_features and sweep_tokens"),
        ({"sweep_tokens": 65_536}, "needs at least three learning_rates"),
        (SWEEP | {"sweep_features": (32,)}, "must be among num_features"),
        (SWEEP | {"sweep_tokens": 1}, "must be among num_features, and sweep_tokens"),
        (SWEEP | {"held_out": ((64, 65_536),)}, "part of the sweep"),
        ({"held_out": ((64, 1),)}, "is not among num_features and num_tokens"),
        ({"num_features": ()}, "at least 1"),
    ],
)
def test_grids_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        GridConfig(**(GRID | changes))


def test_cells_too_short_for_the_schedule_are_refused():
    with pytest.raises(ValidationError, match="are 4 steps of batch_size 16,384, too few for 20 warmup_steps"):
        ScaleConfig(batch_size=16_384, grids=(GridConfig(**GRID),))


def test_two_grids_have_two_objectives():
    same = GridConfig(**GRID)
    with pytest.raises(ValidationError, match="the same objective"):
        ScaleConfig(grids=(same, same))

    ScaleConfig(grids=(same, GridConfig(**GRID, l1_coefficient=2.0), GridConfig(**GRID, architecture="topk", k=8)))


def test_most_recipes_ask_for_none_and_the_others_load():
    asked = {name for name in recipe_names() if load_recipe(name).scale.grids}

    assert asked == {"sample", "sample-scaling"}
    assert load_recipe("sample-scaling").scale.grids[0].num_features == tuple(2**n for n in range(9, 15))


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_written_as_toml_is_the_same(name):
    recipe = load_recipe(name)
    raw = recipe.model_dump(mode="json", exclude_defaults=True)

    assert make_recipe(tomllib.loads(to_toml(raw))) == recipe


def test_toml_holds_all_kinds_of_values():
    raw = {
        "text": 'a "quoted"\n\tline\x7f',
        "none": None,
        "numbers": [1, 2.5, 1e-05],
        "pairs": [[1, 2], [3, 4]],
        "yes": True,
        "section": {"empty": [], "deep": {"x": 1}, "tables": [{"a": 1, "below": {"b": 2}}, {"a": 3}]},
        "nothing": {},
    }
    expected = {name: value for name, value in raw.items() if name not in ("none", "nothing")}

    assert tomllib.loads(to_toml(raw)) == expected


def test_the_documented_way_on_to_all_tokens_is_a_recipe():
    text = (ROOT / "docs/scaling.md").read_text().replace("\\\n", "")
    command = re.search(r"monosema scale .*--set name=sample-scaling-all .*", text)
    words = shlex.split(command[0])

    recipe = load_recipe(words[3], [word for before, word in pairwise(words) if before == "--set"])

    (longer,), (grid,) = recipe.scale.grids, load_recipe("sample-scaling").scale.grids
    assert set(grid.num_tokens) < set(longer.num_tokens)
    assert {"num_tokens", "held_out"} == {name for name in vars(grid) if getattr(grid, name) != getattr(longer, name)}
