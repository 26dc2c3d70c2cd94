"""The stage mechanism: nothing twice, go on after a kill, and never a half artifact."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.errors import ArtifactError, StorageError
from data.layout import MANIFEST_NAME, RunPaths, StorePaths
from data.manifests import load_manifest
from pipeline.recipe import Recipe, load_recipe
from pipeline.stage import Stage, Work

WorkFunction = Callable[[Work], dict[str, Any]]


@pytest.fixture
def paths(store: StorePaths) -> RunPaths:
    return store.run("sample")


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("sample")


def write(text: str) -> WorkFunction:
    def work(work: Work) -> dict[str, Any]:
        (work.folder / "file").write_text(text)
        (work.folder / ".scratch").write_text("x")
        return {"length": len(text)}

    return work


def stage_of(work: WorkFunction, **options: Any) -> Stage:
    return Stage(name="made", work=work, config=options.pop("config", lambda recipe: {}), **options)


def test_an_artifact_says_what_made_it(recipe: Recipe, paths: RunPaths) -> None:
    first = stage_of(write("one")).run(recipe, paths)
    second = Stage("next", write("two"), lambda recipe: {"layer": recipe.model.layer}, ("made",)).run(recipe, paths)
    assert second == load_manifest(paths.stage("next"))
    assert (second.inputs, second.config, second.counts) == ({"made": first.key}, {"layer": 14}, {"length": 3})
    assert list(second.files) == ["file"]
    assert sorted(os.listdir(paths.stage("next"))) == ["file", MANIFEST_NAME]
    assert not paths.partial("next").exists()


def test_a_second_run_does_nothing(recipe: Recipe, paths: RunPaths) -> None:
    def must_not_run(work: Work) -> dict[str, Any]:
        raise AssertionError

    first = stage_of(write("one")).run(recipe, paths)
    assert stage_of(must_not_run).run(recipe, paths) == first


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"config": lambda recipe: {"other": 1}},
    ],
)
def test_what_decides_the_content_makes_it_run_again(recipe: Recipe, paths: RunPaths, change: dict[str, Any]) -> None:
    stage_of(write("one")).run(recipe, paths)
    stage_of(write("two"), **change).run(recipe, paths)
    assert (paths.stage("made") / "file").read_text() == "two"


def test_the_seed_and_the_inputs_decide_too(paths: RunPaths, recipe: Recipe) -> None:
    following = Stage("next", write("x"), lambda recipe: {}, ("made",))
    keys = set()
    for seed, text in ((0, "one"), (1, "one"), (1, "two")):
        seeded = load_recipe("sample", [f"seed={seed}"])
        stage_of(write(text), config=lambda recipe, text=text: {"text": text}).run(seeded, paths)
        keys.add(following.run(seeded, paths).key)
    assert len(keys) == 3


def test_a_damaged_artifact_is_made_again_and_never_read(recipe: Recipe, paths: RunPaths) -> None:
    stage_of(write("one")).run(recipe, paths)
    (paths.stage("made") / "file").write_text("longer than it was")
    following = Stage("next", write("x"), lambda recipe: {}, ("made",))
    with pytest.raises(ArtifactError, match=r"18 bytes instead of 3: delete .* and run `monosema made` again"):
        following.run(recipe, paths)
    stage_of(write("one")).run(recipe, paths)
    following.run(recipe, paths)


def test_a_missing_input_names_the_command(recipe: Recipe, paths: RunPaths) -> None:
    with pytest.raises(ArtifactError, match="no finished stage 'made': run `monosema made` first"):
        Stage("next", write("x"), lambda recipe: {}, ("made",)).run(recipe, paths)


def fails(error: BaseException) -> WorkFunction:
    def work(work: Work) -> dict[str, Any]:
        (work.folder / "half").write_text("half")
        raise error

    return work


def test_an_error_leaves_the_earlier_artifact_and_the_work_in_hand(recipe: Recipe, paths: RunPaths) -> None:
    earlier = stage_of(write("one")).run(recipe, paths)
    with pytest.raises(KeyError):
        stage_of(fails(KeyError("x")), version=2).run(recipe, paths)
    assert load_manifest(paths.stage("made")) == earlier

    def resumes(work: Work) -> dict[str, Any]:
        assert work.resumed
        return {"half": (work.folder / "half").read_text()}

    assert stage_of(resumes, version=2).run(recipe, paths).counts == {"half": "half"}


def test_work_in_hand_with_another_key_is_thrown_away(recipe: Recipe, paths: RunPaths) -> None:
    with pytest.raises(KeyError):
        stage_of(fails(KeyError("x"))).run(recipe, paths)

    def begins(work: Work) -> dict[str, Any]:
        return {"resumed": work.resumed, "half": (work.folder / "half").exists()}

    assert stage_of(begins, version=2).run(recipe, paths).counts == {"resumed": False, "half": False}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_leaves_earlier_artifacts(recipe: Recipe, paths: RunPaths, number: int) -> None:
    earlier = stage_of(write("one")).run(recipe, paths)
    with pytest.raises(StorageError, match=r"disk is full .* stage 'made' .*run the same command again"):
        stage_of(fails(OSError(number, "full")), version=2).run(recipe, paths)
    assert load_manifest(paths.stage("made")) == earlier


def test_other_errors_of_the_system_are_not_a_full_disk(recipe: Recipe, paths: RunPaths) -> None:
    with pytest.raises(PermissionError):
        stage_of(fails(PermissionError(errno.EACCES, "no"))).run(recipe, paths)


def test_a_kill_between_the_two_renames_is_undone(recipe: Recipe, paths: RunPaths) -> None:
    earlier = stage_of(write("one")).run(recipe, paths)
    paths.stage("made").rename(paths.replaced("made"))
    assert stage_of(fails(AssertionError())).run(recipe, paths) == earlier


def test_what_a_kill_after_the_renames_left_is_taken_away(recipe: Recipe, paths: RunPaths) -> None:
    stage_of(write("one")).run(recipe, paths)
    paths.replaced("made").mkdir()
    (paths.replaced("made") / "half").write_text("removed")
    stage_of(write("two"), version=2).run(recipe, paths)
    assert not paths.replaced("made").exists()


CHILD = """
import os, signal, sys
from pathlib import Path
from data.layout import StorePaths
from pipeline.recipe import load_recipe
from pipeline.stage import Stage

def work(work):
    file = work.folder / "lines"
    done = len(file.read_text().splitlines()) if work.resumed else 0
    with file.open("a") as out:
        for number in range(done, 6):
            out.write(f"{number}\\n"); out.flush()
            if number == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
    return {"resumed_at": done}

paths = StorePaths(Path(sys.argv[1])).run("sample")
manifest = Stage("made", work, lambda recipe: {}).run(load_recipe("sample"), paths)
print(manifest.counts["resumed_at"])
"""


def test_a_process_killed_for_good_goes_on(paths: RunPaths) -> None:
    def child(kill_at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CHILD, str(paths.store.root), str(kill_at)]
        return subprocess.run(command, capture_output=True, text=True)

    assert child(1).returncode == -signal.SIGKILL
    assert child(3).returncode == -signal.SIGKILL
    assert not paths.stage("made").exists()
    assert child(-1).stdout == "4\n"
    assert (paths.stage("made") / "lines").read_text() == "0\n1\n2\n3\n4\n5\n"


def test_a_real_limit_of_the_system_leaves_earlier_artifacts(recipe: Recipe, paths: RunPaths) -> None:
    """A file size limit stops the write in the middle, as a full disk does."""

    def limited(work: Work) -> dict[str, Any]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        try:
            with (work.folder / "large").open("wb", buffering=0) as file:
                while file.write(bytes(1 << 12)):
                    pass
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        return {}

    earlier = stage_of(write("one")).run(recipe, paths)
    with pytest.raises(OSError, match="File too large"):
        stage_of(limited, version=2).run(recipe, paths)
    assert load_manifest(paths.stage("made")) == earlier
    assert stage_of(write("two"), version=3).run(recipe, paths).counts == {"length": 3}


def test_the_clock_counts_all_attempts(recipe: Recipe, paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pipeline.stage.time.monotonic", lambda: now[0])

    def takes(seconds: float, error: Exception | None = None) -> WorkFunction:
        def work(work: Work) -> dict[str, Any]:
            now[0] += seconds
            if error:
                raise error
            return {}

        return work

    with pytest.raises(KeyError):
        stage_of(takes(3, KeyError("x"))).run(recipe, paths)
    assert stage_of(takes(4)).run(recipe, paths).seconds == 7


KILLED = """
import os, signal, sys
from pathlib import Path
from data.layout import StorePaths
from pipeline import stage
from pipeline.recipe import load_recipe
from pipeline.progress import track

now = 0.0
stage.time.monotonic = lambda: now

def work(work):
    global now
    with track("steps", 10) as progress:
        for _ in range(10):
            now += 2
            progress.advance()
    os.kill(os.getpid(), signal.SIGKILL)

paths = StorePaths(Path(sys.argv[1])).run("sample")
stage.Stage("made", work, lambda recipe: {}).run(load_recipe("sample"), paths)
"""


def test_the_clock_counts_an_attempt_that_was_killed(
    recipe: Recipe, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", KILLED, str(paths.store.root)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    monkeypatch.setattr("pipeline.stage.time.monotonic", lambda: 0.0)
    assert stage_of(write("done")).run(recipe, paths).seconds == 18  # of 20: saved at 6, 12 and 18
    assert sorted(os.listdir(paths.stage("made"))) == ["file", MANIFEST_NAME]


def test_finish_is_called_when_the_artifact_stands(recipe: Recipe, paths: RunPaths) -> None:
    seen: list[Path] = []
    stage_of(write("one"), finish=lambda work: seen.append(work.paths.stage("made"))).run(recipe, paths)
    assert seen == [paths.stage("made")]
    assert seen[0].exists()


def test_finished_work_that_was_not_yet_in_place_is_put_there(paths: RunPaths, recipe: Recipe) -> None:
    stage_of(write("done")).run(recipe, paths)
    paths.stage("made").rename(paths.partial("made"))
    stage_of(write("again")).run(recipe, paths)
    assert (paths.stage("made") / "file").read_text() == "done"
    assert not paths.partial("made").exists()


def test_two_commands_do_not_work_on_one_artifact(paths: RunPaths, recipe: Recipe) -> None:
    def work(work: Work) -> dict[str, Any]:
        with pytest.raises(ArtifactError, match="another command is working on stage 'made'"):
            stage_of(write("other")).run(recipe, paths)
        return write("mine")(work)

    stage_of(work).run(recipe, paths)
    assert (paths.stage("made") / "file").read_text() == "mine"
