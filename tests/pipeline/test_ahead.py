"""Stages that run ahead in a process of their own make what they make in their turn, or leave it to that."""

import os
import shutil
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

import pytest
import torch

from data.artifacts.features import MAP_FILE, NEIGHBOURS_FILE
from data.layout import RunPaths, StorePaths
from data.manifests import find_stage
from pipeline import ahead
from pipeline.ahead import AHEAD, RunAhead, can_run_ahead, end_with_parent
from pipeline.recipe import Recipe, make_recipe
from pipeline.runs import run_stages
from pipeline.stage import Stage
from tests.support.models import save_tiny_model
from tests.support.text_folder import make_word_folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunPaths]:
    """A run whose last stage is `examples`. Its four features are too few for UMAP, which takes long to load."""
    folder = tmp_path_factory.mktemp("ahead")
    save_tiny_model(folder / "model")
    make_word_folder(folder / "texts", 40, 60)
    recipe = make_recipe(
        {
            "name": "tiny",
            "corpus": {"source": "text", "path": str(folder / "texts"), "held_out_fraction": 0.3},
            "model": {"name": "tiny", "source": str(folder / "model"), "layer": 1, "dtype": "float32"},
            "tokenize": {"context_length": 64},
            "train": {"batch_size": 64, "saes": [{"architecture": "relu", "num_features": 4, "l1_coefficient": 0.5}]},
            "examples": {"rare_tokens": 5},
            "respond": {"candidates": 0},
            "effects": {"features": 0},
            "neurons": {"features": 0},
            "score": {"features": 0},
            "compare": {"n": 0},
            "completeness": {"lists": []},
            "strengths": {"features": 0},
            "project": {"num_epochs": 10},
        }
    )
    paths = StorePaths(folder / "store").run("tiny")
    run_stages(recipe, paths, "examples")
    return recipe, paths


@pytest.fixture
def run(made: tuple[Recipe, RunPaths], tmp_path: Path) -> tuple[Recipe, RunPaths]:
    """A copy of it."""
    recipe, paths = made
    shutil.copytree(paths.store.root, tmp_path / "store", symlinks=True)
    return recipe, StorePaths(tmp_path / "store").run("tiny")


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a core to spare, whatever this one has."""
    monkeypatch.setattr(ahead, "can_run_ahead", lambda recipe, paths: True)


def content(paths: RunPaths) -> list[bytes]:
    files = zip(AHEAD, (NEIGHBOURS_FILE, MAP_FILE), strict=True)
    return [(paths.stage(stage) / file).read_bytes() for stage, file in files]


@pytest.mark.usefixtures("able")
def test_what_is_made_ahead_is_what_is_made_in_its_turn(
    run: tuple[Recipe, RunPaths],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, paths = run
    in_turn = StorePaths(shutil.copytree(paths.store.root, tmp_path / "in-turn", symlinks=True)).run("tiny")
    made_here: list[RunPaths] = []
    make = Stage._make
    monkeypatch.setattr(Stage, "_make", lambda self, makers: (made_here.append(makers[0].paths), make(self, makers))[1])
    run_stages(recipe, paths, "project")
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("evaluate", "explain"))]
    here = made_here.count(paths)
    with monkeypatch.context() as patch:
        patch.setattr(ahead, "can_run_ahead", lambda recipe, paths: False)
        run_stages(recipe, in_turn, "project")
    said_in_turn = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("project", "map graph"))]
    assert made_here.count(in_turn) == here + len(AHEAD), "these were made in the other process"
    assert content(paths) == content(in_turn)
    ends = [line for line in said if any(f"] {name}: done in" in line for name in AHEAD)]
    assert len(ends) == len(AHEAD)
    assert all(line.split(" in ")[0] in "\n".join(said) for line in said_in_turn), (
        "and what was said there is said here"
    )


@pytest.mark.usefixtures("able")
def test_what_fails_ahead_is_made_in_its_turn(
    run: tuple[Recipe, RunPaths], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, paths = run
    start = RunAhead.start

    def start_and_die(self: RunAhead) -> None:
        start(self)
        assert self._process is not None
        self._process.kill()

    monkeypatch.setattr(RunAhead, "start", start_and_die)
    run_stages(recipe, paths, "project")
    said = capsys.readouterr().err
    assert f"neighbours and project could not be made ahead (status {-signal.SIGKILL}): they are made now" in said
    assert all(find_stage(paths, name) is not None for name in AHEAD)


@pytest.mark.usefixtures("able")
def test_it_ends_with_the_run(run: tuple[Recipe, RunPaths]) -> None:
    with RunAhead(*run) as begun:
        begun.start()
        assert begun._process is not None
        process, log = begun._process.pid or 0, Path(begun._said.name)
    assert not log.exists()
    with pytest.raises(ChildProcessError):
        os.waitpid(process, os.WNOHANG)


@pytest.mark.usefixtures("able")
def test_nothing_is_begun_where_all_of_it_stands(run: tuple[Recipe, RunPaths], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ahead, "can_run_ahead", lambda recipe, paths: False)
        run_stages(run[0], run[1], "project")
    with RunAhead(*run) as begun:
        begun.start()
        assert begun._process is None
        begun.wait()


def test_it_needs_a_core_to_spare_and_little_memory(
    made: tuple[Recipe, RunPaths], monkeypatch: pytest.MonkeyPatch, store: StorePaths
) -> None:
    recipe, paths = made
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert can_run_ahead(recipe, paths)
    assert not can_run_ahead(recipe, store.run("tiny")), "no SAE stands there"
    on_gpu = recipe.model_copy(update={"model": recipe.model.model_copy(update={"device": "cuda"})})
    assert not can_run_ahead(on_gpu, paths)
    with monkeypatch.context() as patch:
        patch.setattr(ahead, "MOST_BYTES", 1000)
        assert not can_run_ahead(recipe, paths)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert not can_run_ahead(recipe, paths)


def wait_for_ever(fifo: str) -> None:
    """In a process: end with the parent alone, and hold a pipe open until then."""
    Thread(target=end_with_parent, daemon=True).start()
    with open(fifo, "w"):
        signal.pause()


def begin(fifo: str) -> None:
    """In the parent, which nobody ends but by a kill."""
    get_context("spawn").Process(target=wait_for_ever, args=(fifo,)).start()
    signal.pause()


def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = f"from tests.pipeline.test_ahead import begin; begin({str(fifo)!r})"
    parent = subprocess.Popen([sys.executable, "-c", code])
    with fifo.open() as held:  # once the child holds the other end
        parent.kill()
        assert parent.wait() == -signal.SIGKILL
        assert held.read() == "", "read to its end, which comes with that of the child"
