"""The stage mechanism: do nothing twice, go on after a kill, and never leave a half artifact.

A stage is `run(recipe, paths) -> Manifest`. It works in a hidden folder beside the artifact and takes the artifact's
place by rename when it is done; until then the earlier artifact stays. A second run with the same key is a no-op. A
run that was killed finds its hidden folder, if that has the same key, and resumes in it.
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
    together: Callable[[Sequence[Work]], list[dict[str, Any]]] | None = None
    """Does the work of several runs at once, and gives the counts of each; None does one after the other."""

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

    def stands(self, recipe: Recipe, paths: RunPaths) -> bool:
        """Whether there is nothing to make. Raises ArtifactError when an input is missing or damaged."""
        return self._ask(recipe, paths).finished(self.name) is not None

    def run(self, recipe: Recipe, paths: RunPaths) -> Manifest:
        """Make the artifact, unless it is there already.

        Raises ArtifactError when an input is missing or damaged, StorageError when the disk is full. In either case,
        and for any other error, the earlier artifact stays as it was.
        """
        return self.run_together([(recipe, paths)])[0]

    def run_together(self, parts: Sequence[tuple[Recipe, RunPaths]]) -> list[Manifest]:
        """The same for several runs, at once where the stage can. Runs with the same key share one artifact's files."""
        asked = [self._ask(recipe, paths) for recipe, paths in parts]
        with ExitStack() as locks:
            for one in asked:
                locks.enter_context(alone(one.paths, self.name))
                _recover(one.paths, self.name)
            found = {one.paths: manifest for one in asked if (manifest := one.finished(self.name)) is not None}
            missing = {one.key: one for one in reversed(asked) if one.paths not in found}
            makers = [one for key, one in missing.items() if key not in {manifest.key for manifest in found.values()}]
            if makers:
                found |= self._guarded(makers[::-1])
            for one in asked:
                if one.paths not in found:
                    source = next(paths for paths, manifest in found.items() if manifest.key == one.key)
                    found[one.paths] = self._share(one, source)
            return [found[one.paths] for one in asked]

    def _ask(self, recipe: Recipe, paths: RunPaths) -> "_Asked":
        inputs = {name: require_stage(paths, name) for name in self.needs}
        return _Asked(recipe, paths, inputs, self.key(recipe, inputs))

    def _guarded(self, makers: "Sequence[_Asked]") -> dict[RunPaths, Manifest]:
        try:
            return self._make(makers)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            root = makers[0].paths.store.root
            free = shutil.disk_usage(root).free
            raise StorageError(
                f"the disk is full ({free / 1e9:.1f} GB free at {root}) while stage '{self.name}' wrote: "
                "free some space and run the same command again; it resumes where it stopped, and earlier artifacts "
                "are as they were"
            ) from None

    def _make(self, makers: "Sequence[_Asked]") -> dict[RunPaths, Manifest]:
        works = [one.begin(self.name) for one in makers]
        if self.together is None:
            return {work.paths: self._make_one(work) for work in works}
        clocks = [Clock(work.folder) for work in works]
        with _running(clocks):
            counts = self.together(works)
        return {
            work.paths: self._end(work, of_work, clock)
            for work, of_work, clock in zip(works, counts, clocks, strict=True)
        }

    def _make_one(self, work: Work) -> Manifest:
        clock = Clock(work.folder)
        with _running([clock]):
            counts = self.work(work)
        return self._end(work, counts, clock)

    def _end(self, work: Work, counts: dict[str, Any], clock: "Clock") -> Manifest:
        """Put what was made in its place."""
        manifest = Manifest(
            stage=self.name,
            key=work.key,
            config=dict(self.config(work.recipe)),
            inputs={name: manifest.key for name, manifest in work.inputs.items()},
            seed=work.recipe.seed,
            counts=counts,
            files=hash_folder(work.folder),
            code_version=__version__,
            seconds=round(clock.total(), 2),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_manifest(work.folder, manifest)
        _put_in_place(work.paths, self.name)
        self.finish(work)
        return manifest

    def _share(self, one: "_Asked", source: RunPaths) -> Manifest:
        """Take the artifact of another run with the same key: its files are linked, or copied where they cannot be."""
        work = one.begin(self.name)
        shutil.copytree(source.stage(self.name), work.folder, copy_function=_link, dirs_exist_ok=True)
        _put_in_place(one.paths, self.name)
        self.finish(work)
        return require_stage(one.paths, self.name)


@dataclass(frozen=True)
class _Asked:
    """An artifact that is asked for."""

    recipe: Recipe
    paths: RunPaths
    inputs: dict[str, Manifest]
    key: str

    def finished(self, stage: str) -> Manifest | None:
        return finished_manifest(self.paths, stage, self.key)

    def begin(self, stage: str) -> Work:
        folder = self.paths.partial(stage)
        resumed = _prepare(folder, self.key)
        return Work(self.recipe, self.paths, folder, self.inputs, self.key, resumed)


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


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


@contextmanager
def _running(clocks: "Sequence[Clock]") -> Iterator[None]:
    """Let clocks tick with the progress of the block, and save them when it ends."""

    def tick() -> None:
        for clock in clocks:
            clock.tick()

    try:
        with listening(tick):
            yield
    finally:
        for clock in clocks:
            clock.save()


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
def alone(paths: RunPaths, stage: str) -> Iterator[None]:
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
