"""Labels for all features of an SAE, from the files of its examples: on all cores, for each feature stands alone."""

import pickle
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLES_FILE, STATISTICS_FILE
from pipeline.labels.evidence import read_evidence
from pipeline.labels.labeller import Label, Labeller
from pipeline.labels.pairs import FeatureActivity
from pipeline.progress import Progress

FEATURES_AT_ONCE = 1024
WORTHWHILE = 4 * FEATURES_AT_ONCE
"""Features from which on the start of other processes costs less than it saves."""
MOST_PROCESSES = 16
"""Each holds the text and the active pairs, and what it remembers of them: up to half a gigabyte."""
IDLE_SECONDS = 5
"""Processes without work end after so long, and give that memory back."""
DEAD = Label()


class Tested(NamedTuple):
    """What the rules of an SAE's features are tried on."""

    activity: FeatureActivity
    rare_F: np.ndarray
    """Features that hardly fire in held-out text: bool [F]."""
    reserved_D: np.ndarray
    """Training documents that rules of rare features are tried on, so never made from: bool [D]."""


class Labelling(NamedTuple):
    """All that the labels of an SAE's features are made from."""

    folder: Path
    """Its part of the stage `examples`."""
    num_bands: int
    corpus: TokenizedCorpus
    labeller: Labeller
    tested: Tested

    @property
    def num_features(self) -> int:
        return len(self.tested.rare_F)

    def some(self, start: int, stop: int) -> list[Label]:
        """The labels of the features from `start` to before `stop`."""
        max_F = read_arrow(self.folder / STATISTICS_FILE)["max"].to_numpy()
        examples = read_arrow(self.folder / EXAMPLES_FILE)
        low, high = np.searchsorted(examples["index"].to_numpy(), (start, stop)).tolist()
        usable, maker = self._usable(examples.slice(low, high - low)), self.labeller.maker
        found = dict(read_evidence(usable, self.num_bands, self.corpus, maker.words, maker.background))
        activity, rare_F = self.tested.activity, self.tested.rare_F
        return [
            self.labeller.label(found.get(f), activity.of(f), float(max_F[f]), rare=bool(rare_F[f]))
            if max_F[f] > 0
            else DEAD
            for f in range(start, stop)
        ]

    def _usable(self, examples: pa.Table) -> pa.Table:
        """The examples that rules may be made from."""
        rare_N = self.tested.rare_F[examples["index"].to_numpy()]
        return examples.filter(pa.array(~(rare_N & self.tested.reserved_D[examples["document"].to_numpy()])))


def labels_of(
    labelling: Labelling, scratch: Path, progress: Progress, processes: int | None = None
) -> Iterator[list[Label]]:
    """The labels of all features, in order, some at a time.

    scratch: the stage's folder, for a hidden file that other processes read. processes: None for one on each core.
    """
    F = labelling.num_features
    parts = [(start, min(start + FEATURES_AT_ONCE, F)) for start in range(0, F, FEATURES_AT_ONCE)]
    together = processes != 1 and F >= WORTHWHILE
    for labels in _together(labelling, parts, scratch, processes) if together else _in_turn(labelling, parts):
        yield labels
        progress.advance(len(labels))


def _in_turn(labelling: Labelling, parts: list[tuple[int, int]]) -> Iterator[list[Label]]:
    return (labelling.some(*part) for part in parts)


def _together(
    labelling: Labelling, parts: list[tuple[int, int]], scratch: Path, processes: int | None
) -> Iterator[list[Label]]:
    from joblib import Parallel, cpu_count, delayed, parallel_config  # here, for few SAEs are large enough

    at_once = {"n_jobs": processes or min(cpu_count(), MOST_PROCESSES), "idle_worker_timeout": IDLE_SECONDS}
    with tempfile.NamedTemporaryFile(dir=scratch, prefix=".") as file:
        pickle.dump(labelling, file)
        file.flush()
        with parallel_config("loky", inner_max_num_threads=1, **at_once):
            yield from Parallel(return_as="generator")(delayed(_read_and_label)(file.name, *part) for part in parts)


def _read_and_label(file: str, start: int, stop: int) -> list[Label]:
    return _read(file).some(start, stop)


@lru_cache(1)
def _read(file: str) -> Labelling:
    """What another process wrote, once in a process for all parts of it."""
    return cast(Labelling, pickle.loads(Path(file).read_bytes()))
