"""The stage mechanism: do nothing twice, go on after a kill, and never leave a half artifact.

A stage is `run(recipe, paths) -> Manifest`. It works in a hidden folder beside the artifact and takes the artifact's
place by rename when it is done; until then the earlier artifact stays. A second run with the same key is a no-op. A
run that was killed finds its hidden folder, if that has the same key, and resumes in it.
"""

import errno
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data import ARTIFACT_VERSION, __version__
from data.errors import ArtifactError, StorageError
from data.layout import MANIFEST_NAME, RunPaths
from data.manifests import Manifest, digest, find_stage, hash_folder, require_stage, write_manifest
from pipeline.progress import listening
from pipeline.recipe import Recipe

KEY_FILE = ".key"
SECONDS_FILE = ".seconds"
SECONDS_BETWEEN_SAVES = 5.0
"""Of the clock, while a step goes on: what a kill can take from the manifest's wall time."""


@dataclass(frozen=True)
class Work:
    """The inputs and the folder that a stage has at hand while it works."""

    recipe: Recipe
    paths: RunPaths
    folder: Path
    """Write everything here. What a killed attempt left is still there when `resumed`. Hidden files are scratch: they
    are not part of the artifact and are removed when it is finished."""
    inputs: dict[str, Manifest]
    """Manifests of the stages in `needs`."""
    key: str
    resumed: bool

    def input_folder(self, stage: str) -> Path:
        """The artifact of a stage in `needs`."""
        assert stage in self.inputs, f"{stage} is not declared in needs"
        return self.paths.stage(stage)


@dataclass(frozen=True)
class Stage:
    """A named step from artifacts to one artifact."""

    name: str
    work: Callable[[Work], dict[str, Any]]
    """Does the work in `Work.folder` and returns the manifest's counts."""
    config: Callable[[Recipe], Mapping[str, Any]]
    """The part of the recipe that decides the content, as plain JSON."""
    needs: tuple[str, ...] = ()
    """Stages whose artifacts are read."""
    version: int = 1
    """Raised when the same config and inputs give another content."""
    finish: Callable[[Work], None] = field(default=lambda work: None)
    """Function that makes the artifact visible elsewhere; called once it is in place."""

    def key(self, recipe: Recipe, inputs: Mapping[str, Manifest]) -> str:
        """Names everything that decides the content."""
        return digest(
            {
                "stage": self.name,
                "version": self.version,
                "contract": ARTIFACT_VERSION,
                "config": dict(self.config(recipe)),
                "seed": recipe.seed,
                "inputs": {name: manifest.key for name, manifest in inputs.items()},
            }
        )

    def run(self, recipe: Recipe, paths: RunPaths) -> Manifest:
        """Make the artifact, unless it is there already.

        Raises ArtifactError when an input is missing or damaged, StorageError when the disk is full. In either case,
        and for any other error, the earlier artifact stays as it was.
        """
        inputs = {name: require_stage(paths, name) for name in self.needs}
        key = self.key(recipe, inputs)
        with _alone(paths, self.name):
            return self._run_alone(recipe, paths, inputs, key)

    def _run_alone(self, recipe: Recipe, paths: RunPaths, inputs: dict[str, Manifest], key: str) -> Manifest:
        _recover(paths, self.name)
        finished = finished_manifest(paths, self.name, key)
        if finished is not None:
            return finished
        try:
            return self._make(recipe, paths, inputs, key)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            free = shutil.disk_usage(paths.store.root).free
            raise StorageError(
                f"the disk is full ({free / 1e9:.1f} GB free at {paths.store.root}) while stage '{self.name}' wrote: "
                "free some space and run the same command again; it resumes where it stopped, and earlier artifacts "
                "are as they were"
            ) from None

    def _make(self, recipe: Recipe, paths: RunPaths, inputs: dict[str, Manifest], key: str) -> Manifest:
        folder = paths.partial(self.name)
        resumed = _prepare(folder, key)
        work = Work(recipe, paths, folder, inputs, key, resumed)
        clock = Clock(folder)
        try:
            with listening(clock.tick):
                counts = self.work(work)
        finally:
            clock.save()
        manifest = Manifest(
            stage=self.name,
            key=key,
            config=dict(self.config(recipe)),
            inputs={name: manifest.key for name, manifest in inputs.items()},
            seed=recipe.seed,
            counts=counts,
            files=hash_folder(folder),
            code_version=__version__,
            seconds=round(clock.total(), 2),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_manifest(folder, manifest)
        _put_in_place(paths, self.name)
        self.finish(work)
        return manifest


class Clock:
    """Wall time over all attempts at one artifact, kept beside the work in hand.

    It is saved when the work ends, however it ends, and while it goes on at its steps of progress, so that an attempt
    that is killed is counted too.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / SECONDS_FILE
        self._before = float(self._file.read_text()) if self._file.exists() else 0.0
        self._start = self._saved = time.monotonic()

    def total(self) -> float:
        return self._before + time.monotonic() - self._start

    def tick(self) -> None:
        """Save now and then."""
        if time.monotonic() - self._saved >= SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        """Write it down, whole or not at all."""
        self._saved = time.monotonic()
        if self._file.parent.exists():
            temporary = self._file.with_name(f"{SECONDS_FILE}.partial")
            temporary.write_text(str(self.total()))
            temporary.replace(self._file)


def finished_manifest(paths: RunPaths, stage: str, key: str) -> Manifest | None:
    """The manifest of the finished artifact if it has this key and its files are whole."""
    manifest = find_stage(paths, stage)
    return manifest if manifest is not None and manifest.key == key else None


def _prepare(folder: Path, key: str) -> bool:
    """Make the work folder; True when it holds the work of a killed attempt with this key."""
    key_file = folder / KEY_FILE
    if key_file.exists() and key_file.read_text() == key:
        return True
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    key_file.write_text(key)
    return False


def _put_in_place(paths: RunPaths, stage: str) -> None:
    final, replaced, partial = paths.stage(stage), paths.replaced(stage), paths.partial(stage)
    for hidden in partial.glob(".*"):
        shutil.rmtree(hidden) if hidden.is_dir() else hidden.unlink()
    if final.exists():
        final.rename(replaced)
    partial.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)


def _recover(paths: RunPaths, stage: str) -> None:
    """Undo a kill in the middle of `_put_in_place`, or end it: a work folder with a manifest is finished."""
    final, replaced = paths.stage(stage), paths.replaced(stage)
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
    if (paths.partial(stage) / MANIFEST_NAME).exists():
        _put_in_place(paths, stage)
    elif replaced.exists():
        replaced.rename(final)


@contextmanager
def _alone(paths: RunPaths, stage: str) -> Iterator[None]:
    """Keep other commands from the same artifact. Raises ArtifactError when one is at work on it."""
    paths.root.mkdir(parents=True, exist_ok=True)
    with (paths.root / f".{stage}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"another command is working on stage '{stage}' of run '{paths.run}': wait until it is done, or stop it"
            ) from None
        yield
