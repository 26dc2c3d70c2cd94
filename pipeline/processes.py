"""Work on all cores where each part of it stands alone, for what is slow in Python itself."""

import pickle
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from pipeline.memory import collect_seldom

Part = TypeVar("Part", covariant=True)

AT_ONCE = 1024
"""Items of a part."""
WORTHWHILE = 4 * AT_ONCE
"""Items from which on the start of other processes costs less than it saves."""
MOST_PROCESSES = 16
"""Each holds what the work is made from, and what it remembers of it: up to half a gigabyte."""
PARTS_WAITING = 8
"""Parts of each process that are made before they are asked for, at most."""
IDLE_SECONDS = 5
"""Processes without work end after so long, and give that memory back."""


class Work(Protocol[Part]):
    """What can be done in parts, in any process: it is pickled."""

    def some(self, start: int, stop: int) -> Part:
        """The items from `start` to before `stop`."""
        ...


def in_parts(work: Work[Part], total: int, scratch: Path) -> Iterator[Part]:
    """All parts in order; where there are many, other processes make them.

    scratch: folder for a hidden file that the processes read.
    """
    bounds = [(start, min(start + AT_ONCE, total)) for start in range(0, total, AT_ONCE)]
    return (work.some(*part) for part in bounds) if total < WORTHWHILE else _together(work, bounds, scratch)


def _together(work: Work[Part], bounds: list[tuple[int, int]], scratch: Path) -> Iterator[Part]:
    from joblib import Parallel, cpu_count, delayed, parallel_config  # here, for few SAEs are large enough

    num_processes = min(cpu_count(), MOST_PROCESSES)
    at_once = {"n_jobs": num_processes, "idle_worker_timeout": IDLE_SECONDS}
    step = num_processes * PARTS_WAITING
    with tempfile.NamedTemporaryFile(dir=scratch, prefix=".") as file:
        pickle.dump(work, file)
        file.flush()
        with parallel_config("loky", inner_max_num_threads=1, **at_once):
            for start in range(0, len(bounds), step):
                calls = (delayed(_read_and_do)(file.name, *part) for part in bounds[start : start + step])
                yield from Parallel(return_as="generator")(calls)


def _read_and_do(file: str, start: int, stop: int) -> Any:
    return _read(file).some(start, stop)


@lru_cache(1)
def _read(file: str) -> Work[Any]:
    """What another process wrote, once in a process for all parts of it; garbage is looked for as it is there."""
    collect_seldom()
    return cast(Work[Any], pickle.loads(Path(file).read_bytes()))
