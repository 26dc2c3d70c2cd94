"""A run with nothing left to do sees it without loading a stage; anything that changed makes it look again."""

import importlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import data.published.state
from data.errors import ArtifactError
from data.layout import RunPaths, StorePaths
from data.manifests import Manifest, find_stage
from pipeline import runs
from pipeline.recipe import Recipe, load_recipe
from pipeline.stage import Stage, Work
from pipeline.stages import STAGES, fetch
from tests.support.fake_run import fake_recipe


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

        return SimpleNamespace(run=Stage(name, work, lambda recipe: {"layer": recipe.model.layer}).run)

    monkeypatch.setattr(runs.importlib, "import_module", load)
    monkeypatch.setattr(runs, "BESIDE", {})
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


@pytest.fixture
def unmapped(published_store: StorePaths, tmp_path: Path) -> RunPaths:
    """A copy of the fake run without its map."""
    shutil.copytree(published_store.root, tmp_path / "store")
    paths = StorePaths(tmp_path / "store").run("fake")
    shutil.rmtree(paths.stage("project"))
    return paths


def test_a_stage_beside_others_makes_what_it_makes_alone(
    unmapped: RunPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = fake_recipe()
    with runs.Beside(recipe, unmapped) as beside:
        beside.start("project")
        assert beside.has("project")
        found = beside.finish("project")
        assert not beside.has("project")
    assert "UMAP of" in capsys.readouterr().err, "what it says comes when it is waited for"
    assert found == find_stage(unmapped, "project")
    shutil.rmtree(unmapped.stage("project"))
    alone = runs.run_stage("project", recipe, unmapped)
    assert (alone.key, alone.files) == (found.key, found.files)
    with runs.Beside(recipe, unmapped) as beside:
        beside.start("project")
        assert not beside.has("project"), "it stands already"


def test_what_a_stage_beside_others_raises_is_raised(unmapped: RunPaths) -> None:
    with runs.Beside(fake_recipe(), unmapped) as beside:
        beside.start("project")
        (unmapped.stage("train") / fake_recipe().sae_names[0] / "sae.safetensors").unlink()
        with pytest.raises((ArtifactError, FileNotFoundError)):
            beside.finish("project")
    assert find_stage(unmapped, "project") is None


def test_a_stage_runs_beside_one_that_it_does_not_wait_for() -> None:
    for other, name in runs.BESIDE.items():
        needs = importlib.import_module(f"pipeline.stages.{name}").STAGE.needs
        before = STAGES[: STAGES.index(other)]
        assert set(needs) <= set(before), "its inputs are there when it begins"
        assert STAGES.index(name) > STAGES.index(other)
