"""Labels for all features of an SAE, from the files of its examples: on all cores, for each feature stands alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLES_FILE, STATISTICS_FILE
from pipeline.labels.evidence import read_evidence
from pipeline.labels.labeller import Label, Labeller
from pipeline.labels.pairs import FeatureActivity
from pipeline.processes import in_parts
from pipeline.progress import Progress

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


def labels_of(labelling: Labelling, scratch: Path, progress: Progress) -> Iterator[list[Label]]:
    """The labels of all features, in order, some at a time.

    scratch: the stage's folder, for a hidden file that other processes read.
    """
    for labels in in_parts(labelling, labelling.num_features, scratch):
        yield labels
        progress.advance(len(labels))
