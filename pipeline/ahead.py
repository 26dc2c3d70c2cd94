"""Stages that run ahead of their turn, in a process of their own, on what the others leave of the cores.

`neighbours` and `project` need only the autoencoders and what is active where, and UMAP uses one core alone. In their
turn they are asked for as all stages are: what was made ahead stands then, and what was not is made there, with its
error if it has one.
"""

import os
import tempfile
import threading
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from data.layout import RunPaths
from pipeline.progress import log

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from pipeline.recipe import Recipe
    from pipeline.stage import Stage

AHEAD, AFTER = ("neighbours", "project"), "examples"
"""These stages can begin as soon as that one is done."""
MOST_BYTES = 1 << 28
"""Weights of all SAEs up to which their directions may be in memory beside what other stages hold."""
NICENESS = 10
"""Other stages come first."""


def can_run_ahead(recipe: "Recipe", paths: RunPaths) -> bool:
    """Whether there is a core to spare, and memory; a device that is not the CPU is left to one stage at a time."""
    from torch import get_num_threads  # here, for it is loaded once a stage has run

    from pipeline.models.sae import WEIGHTS_FILE

    weights = [paths.stage("train") / name / WEIGHTS_FILE for name in recipe.sae_names]
    is_small = all(file.exists() for file in weights) and sum(file.stat().st_size for file in weights) <= MOST_BYTES
    return recipe.model.device == "cpu" and get_num_threads() > 1 and is_small


class RunAhead:
    """The process in which these stages of a run are made. A block of it ends with the process stopped."""

    def __init__(self, recipe: "Recipe", paths: RunPaths) -> None:
        self._recipe, self._paths = recipe, paths
        self._process: SpawnProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._end()

    def start(self) -> None:
        """Begin, where the machine can and something is to be made."""
        made = all(_stage(name).stands(self._recipe, self._paths) for name in AHEAD)
        if made or not can_run_ahead(self._recipe, self._paths):
            return
        from multiprocessing import get_context  # here, as most commands begin nothing

        self._said = tempfile.NamedTemporaryFile(dir=self._paths.root, prefix=".ahead-")  # noqa: SIM115
        arguments = (self._recipe, self._paths, self._said.name)
        self._process = get_context("spawn").Process(target=_make, args=arguments, daemon=True)
        self._process.start()

    def wait(self) -> None:
        """Wait until all is made, and say what was said meanwhile; nothing where nothing was begun."""
        if self._process is None:
            return
        self._process.join()
        if self._process.exitcode == 0:
            for line in Path(self._said.name).read_text(errors="replace").splitlines():
                log(line)
        else:
            log(f"{' and '.join(AHEAD)} could not be made ahead (status {self._process.exitcode}): they are made now")
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.join()
        self._process.close()
        self._process = None
        self._said.close()


def _make(recipe: "Recipe", paths: RunPaths, said: str) -> None:
    """In the process: make the stages, one after the other."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.nice(NICENESS)
    with open(said, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for name in AHEAD:
        _stage(name).run(recipe, paths)


def _stage(name: str) -> "Stage":
    stage: Stage = import_module(f"pipeline.stages.{name}").STAGE
    return stage


def end_with_parent() -> None:
    """End this process when that which started it has ended, however that was."""
    from multiprocessing import parent_process

    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
