"""A run with nothing left to do sees it without loading a stage; anything that changed makes it look again."""

from types import SimpleNamespace

import pytest

import data.published.state
from data.errors import PreflightError
from data.layout import RunPaths, StorePaths
from data.manifests import Manifest
from pipeline import runs
from pipeline.recipe import ReadRecipe, Recipe, load_recipe, make_recipe
from pipeline.stage import Stage, Work
from pipeline.stages import STAGES, fetch

SAES = [{"architecture": "relu", "num_features": 64}]


@pytest.fixture
def paths(store: StorePaths) -> RunPaths:
    return store.run("sample")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stage modules that were loaded; each makes a small artifact."""
    names: list[str] = []

    def load(module: str) -> SimpleNamespace:
        name = module.rpartition(".")[2]
        names.append(name)

        def work(work: Work) -> dict[str, int]:
            (work.folder / "file").write_text(name)
            return {}

        stage = Stage(name, work, lambda recipe: {"layer": recipe.model.layer})
        return SimpleNamespace(STAGE=stage, run=stage.run)

    monkeypatch.setattr(runs, "importlib", SimpleNamespace(import_module=load))
    monkeypatch.setattr(data.published.state, "is_intact", lambda folder: True)
    monkeypatch.setattr(data.published.state, "is_visible", lambda paths, key: True)
    monkeypatch.setattr(fetch, "is_current", lambda recipe, paths, key: True)
    return names


def test_a_complete_run_loads_no_stage(loaded: list[str], paths: RunPaths) -> None:
    runs.run_stages(load_recipe("sample"), paths)
    assert tuple(loaded) == STAGES
    runs.run_stages(load_recipe("sample"), paths)
    assert len(loaded) == len(STAGES)


def test_a_run_that_stopped_early_is_not_complete(loaded: list[str], paths: RunPaths) -> None:
    runs.run_stages(load_recipe("sample"), paths, "train")
    assert loaded == ["fetch", "tokenize", "harvest", "train"]
    assert not runs.is_complete(load_recipe("sample"), paths)


@pytest.mark.parametrize("change", ["recipe", "code", "artifact", "receipt", "files", "published", "database"])
def test_what_changed_is_seen(loaded: list[str], paths: RunPaths, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    recipe: Recipe = load_recipe("sample")
    runs.run_stages(recipe, paths)
    assert runs.is_complete(recipe, paths)
    match change:
        case "recipe":
            recipe = load_recipe("sample", ["model.layer=3"])
        case "code":
            monkeypatch.setattr(runs, "_code_digest", lambda: "other")
        case "artifact":
            (paths.stage("train") / "file").unlink()
        case "receipt":
            paths.receipt.write_text("{")
        case "files":
            monkeypatch.setattr(fetch, "is_current", lambda recipe, paths, key: False)
        case "published":
            monkeypatch.setattr(data.published.state, "is_intact", lambda folder: False)
        case "database":
            monkeypatch.setattr(data.published.state, "is_visible", lambda paths, key: False)
    assert not runs.is_complete(recipe, paths)


def test_a_stage_that_stands_is_said_to_stand(
    loaded: list[str], paths: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    first: Manifest = runs.run_stage("train", load_recipe("sample"), paths)
    assert runs.run_stage("train", load_recipe("sample"), paths) == first
    done, stands = capsys.readouterr().err.splitlines()
    assert done.startswith(f"[4/{len(STAGES)}] train: done in")
    assert stands == f"[4/{len(STAGES)}] train: stands already"


def test_a_run_that_is_left_behind_is_told_by_the_recipe_behind_it(
    loaded: list[str], store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, alone = load_recipe("sample"), load_recipe("sample", ['name="sample-7"', "model.layer=7"])
    other_hook = {"architecture": "relu", "num_features": 64, "layer": 7}
    both = make_recipe(whole.model_dump(mode="json") | {"train": {"saes": [*SAES, other_hook]}})
    record = SimpleNamespace(name="sample-7", model=whole.model.name, layer=7, recipe=alone.model_dump(mode="json"))
    monkeypatch.setattr(data.published.state, "list_published", lambda store: [record])
    (unsure,) = runs.left_behind(whole, store)
    assert "if that hook was taken out of this recipe, `monosema unpublish sample-7`" in unsure
    runs.run_stages(alone, store.run("sample-7"))
    assert runs.left_behind(whole, store) == []
    runs.run_stages(both, store.run("sample"))
    assert [one.run for _, one in runs.parts_of(both, store.run("sample"))] == ["sample", "sample-7"]
    assert runs.left_behind(both, store) == []
    (told,) = runs.left_behind(whole, store)
    assert "no autoencoder of recipe 'sample' reads its hook (layer 7) any more: `monosema unpublish sample-7`" in told


SERVED = 'score.judges=[{kind="served", base_url="http://127.0.0.1:9/v1", model="m"}]'


def test_a_served_judge_is_asked_until_what_it_says_stands(loaded: list[str], paths: RunPaths) -> None:
    read = ReadRecipe(load_recipe("sample", [SERVED]), [], frozenset())
    assert runs.will_ask_judges(read, paths)
    assert not runs.will_ask_judges(read, paths, STAGES[: STAGES.index("score")])
    assert not runs.will_ask_judges(ReadRecipe(load_recipe("sample"), [], frozenset()), paths)
    assert not loaded
    runs.run_stages(read.recipe, paths, "score")
    assert not runs.will_ask_judges(read, paths, ("score",))
    assert runs.will_ask_judges(read, paths)
    runs.run_stages(read.recipe, paths)
    assert not runs.will_ask_judges(read, paths)
    other = ReadRecipe(load_recipe("sample", [SERVED, "model.layer=3"]), [], frozenset())
    assert runs.will_ask_judges(other, paths)


def test_nothing_is_run_with_a_served_judge_that_does_not_answer(loaded: list[str], paths: RunPaths) -> None:
    read = ReadRecipe(load_recipe("sample", [SERVED]), [], frozenset())
    with pytest.raises(PreflightError, match=r"judge 'served' at http://127.0.0.1:9/v1 does not answer"):
        runs.run_checked(read, paths)
    assert not loaded
    assert not paths.stage("fetch").exists()
