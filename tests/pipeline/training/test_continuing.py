"""Training that goes on from an SAE: it begins as that SAE, becomes better, and refuses what is none like it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.artifacts.features import CURVE_FILE
from data.errors import FormatError
from data.layout import StorePaths
from data.manifests import load_manifest
from pipeline.formats import saelens
from pipeline.formats.continuing import require_beginnings
from pipeline.formats.exported import Exported
from pipeline.models.sae import SAE
from pipeline.preflight.continuing import continuing_problems
from pipeline.preflight.model import ModelFound
from pipeline.recipe import ReadRecipe, Recipe
from pipeline.stages import train
from pipeline.training.topk import TopK
from pipeline.training.trainee import Curve, Schedule, Trainee
from tests.pipeline.training.test_trainer import SAES, WIDTH, harvested, recipe_with

STILL = {"learning_rate": 1e-12}
"""Almost no learning."""


@pytest.fixture(scope="module")
def rows_ND() -> torch.Tensor:
    """Sparse sums of 20 directions, far from 0."""
    generator = torch.Generator().manual_seed(0)
    amount_NF = (torch.rand(2000, 20, generator=generator) < 0.1) * torch.rand(2000, 20, generator=generator)
    return (30 + 10 * amount_NF @ torch.randn(20, WIDTH, generator=generator)).bfloat16()


@pytest.fixture
def store(store: StorePaths, rows_ND: torch.Tensor) -> StorePaths:
    """A store with a trained run `first`, and a run `test` with rows that are a little other, harvested."""
    train.run(recipe_with(), harvested(store.run("first"), rows_ND[:1000]))
    harvested(store.run("test"), 1.02 * rows_ND[1000:] + 0.3)
    return store


def going_on(source: str | dict[str, Any], number: int, **options: Any) -> Recipe:
    return recipe_with([{**SAES[number], "from": source, **options}])


def trained(store: StorePaths, recipe: Recipe) -> SAE:
    train.run(recipe, store.run("test"))
    return SAE.load(store.run("test").stage("train") / recipe.sae_names[0])


@pytest.mark.parametrize("number", range(len(SAES)))
def test_it_begins_as_the_sae_that_it_goes_on_from(store: StorePaths, rows_ND: torch.Tensor, number: int) -> None:
    name = recipe_with().sae_names[number]
    source = SAE.load(store.run("first").stage("train") / name)
    # BatchTopK's threshold follows the rows even where nothing is learnt, so one step alone is made.
    one_step = recipe_with([{**SAES[number], "from": f"run:first/{name}", **STILL}], batch_size=1000)
    found = trained(store, one_step)
    x_ND = rows_ND[:200].float()
    expected_NF, found_NF = source.encode(x_ND), found.encode(x_ND)
    assert expected_NF.any()
    if number == 2:
        expected_NF, found_NF = (sae.pre_activations(x_ND) for sae in (source, found))
        assert (found.threshold_F / source.threshold_F - 1).abs().max() < 0.05
    assert (found_NF - expected_NF).abs().max() < 1e-5 * expected_NF.abs().max()
    told = load_manifest(store.run("test").stage("train")).counts["saes"][name]["continued_from"]
    assert (told["from"], told["format"], told["architecture"]) == (
        f"run:first/{name}",
        "monosema",
        SAES[number]["architecture"],
    )


@pytest.mark.parametrize("number", range(len(SAES)))
def test_going_on_explains_more(store: StorePaths, number: int) -> None:
    name = recipe_with().sae_names[number]
    continued, anew = (
        losses(recipe, store) for recipe in (going_on(f"run:first/{name}", number), recipe_with([SAES[number]]))
    )
    assert continued[-8:].mean() < continued[:8].mean()
    assert continued[-8:].mean() < anew[-8:].mean()


def losses(recipe: Recipe, store: StorePaths) -> np.ndarray:
    train.run(recipe, store.run("test"))
    curve = json.loads((store.run("test").stage("train") / recipe.sae_names[0] / CURVE_FILE).read_text())
    return np.array([point["loss"] for point in curve])


def test_an_sae_of_another_library_is_gone_on_from(store: StorePaths, rows_ND: torch.Tensor, tmp_path: Path) -> None:
    name = recipe_with().sae_names[0]
    ours = SAE.load(store.run("first").stage("train") / name)
    (tmp_path / "there").mkdir()
    density = torch.full((ours.num_features,), 0.1)
    saelens.write(Exported(ours, "org/tiny", "texts", 64, True, density, {}), tmp_path / "there")
    found = trained(store, going_on({"source": str(tmp_path), "folder": "there"}, 0, **STILL))
    x_ND = rows_ND[:200].float()
    assert (found.encode(x_ND) - ours.encode(x_ND)).abs().max() < 1e-5 * ours.encode(x_ND).max()
    told = load_manifest(store.run("test").stage("train")).counts["saes"][name]["continued_from"]
    assert (told["from"], told["format"]) == (f"{tmp_path}/there", "saelens")


def test_the_rate_warms_up_and_not_the_sparsity() -> None:
    schedule = Schedule(10, 0.4, 0.5)
    model = TopK(4, 2, k=1, auxiliary_coefficient=0.0, dead_window=1, seed=0)
    anew, continued = (Trainee(model, Curve(1), 2.0, begun) for begun in (False, True))
    assert [anew.rates(step, schedule) for step in range(5)] == [(2, 0.25), (2, 0.5), (2, 0.75), (2, 1), (2, 1)]
    assert [continued.rates(step, schedule) for step in range(5)] == [(0.5, 1), (1, 1), (1.5, 1), (2, 1), (2, 1)]


@pytest.mark.parametrize(
    ("number", "options", "message"),
    [
        (1, {"num_features": 48}, "it has 24 features, the recipe asks for 48"),
        (1, {"architecture": "batchtopk"}, "it is of architecture topk, the recipe trains batchtopk"),
        (0, {"from": "run:first/1-relu-8"}, "run 'first' has no SAE '1-relu-8': it has 1-batchtopk-32"),
        (0, {"from": "run:none/1-relu-40"}, "run 'none' has no finished stage 'train'"),
        (0, {"from": "/nowhere/at/all"}, "train.saes.from: there is no folder /nowhere/at/all"),
        (0, {"from": "run:test/1-relu-40"}, "is of this run itself"),
    ],
)
def test_what_is_none_like_it_is_refused(store: StorePaths, number: int, options: dict[str, Any], message: str) -> None:
    name = recipe_with().sae_names[number]
    recipe = recipe_with([{**SAES[number], "from": f"run:first/{name}", **options}])
    (told,) = problems_of(recipe, store)
    assert message in told


def test_another_width_is_refused_before_work_and_by_the_stage(store: StorePaths) -> None:
    recipe = going_on("run:first/1-relu-40", 0)
    (told,) = problems_of(recipe, store, width=WIDTH + 1)
    assert "it reads activations of width 12, those of the model have 13" in told
    with pytest.raises(FormatError, match="width 12"):
        require_beginnings(recipe.train.saes, store, WIDTH + 1)


def test_thresholds_and_choices_of_other_kinds_are_refused(store: StorePaths) -> None:
    for number, field in ((2, "threshold_F"), (1, "selection_F")):
        folder = store.run("first").stage("train") / recipe_with().sae_names[number]
        sae = SAE.load(folder)
        setattr(sae, field, torch.linspace(1, 2, sae.num_features))
        sae.save(folder.parents[3] / f"other {number}")
        (told,) = problems_of(going_on(str(folder.parents[3] / f"other {number}"), number), store)
        assert ("different thresholds" if number == 2 else "other values than its activations") in told


def test_files_that_change_train_anew(store: StorePaths) -> None:
    folder = store.run("first").stage("train") / recipe_with().sae_names[1]
    recipe = going_on(str(folder), 1)
    before = train.run(recipe, store.run("test"))
    assert train.run(recipe, store.run("test")) == before
    SAE.load(folder).save(folder)
    assert train.run(recipe, store.run("test")).key != before.key


def problems_of(recipe: Recipe, store: StorePaths, width: int = WIDTH) -> list[str]:
    model = ModelFound(config={"hidden_size": width})
    return continuing_problems(ReadRecipe(recipe, [], frozenset()), store.run("test"), model)
