"""Readings of single examples, coloured token by token: what made a feature fire, and what it changes in the text.

Both are what the server computes on request (pipeline/models/attribution.py), kept for the examples of a few features
so that their pages need no model.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from data.artifacts.corpus import Cutting, TokenizedCorpus
from data.artifacts.features import TOP
from pipeline.arrays import Ints
from pipeline.influence.effect_cases import Cases
from pipeline.influence.effect_files import EffectArrays, Reading, moved_lists
from pipeline.influence.effects import MOVED
from pipeline.models.attribution import changes, fire, moved
from pipeline.models.exact import ExactModel
from pipeline.models.language_model import LanguageModel
from pipeline.models.left_out import left_out, own_of_prompt
from pipeline.models.sae import SAE

EXAMPLES_READ = 3
"""Of each feature, its strongest."""


class ColouredFeature(NamedTuple):
    """A feature whose examples are coloured."""

    sae: int
    feature: int


def choose_coloured(
    cases: Cases, found: EffectArrays, num_saes: int, count: int, first: Sequence[ColouredFeature] = ()
) -> list[ColouredFeature]:
    """Up to `count` features: those of `first`, then those that change the prediction most.

    The latter are of one SAE after the other in turn, each raising another token most.
    """
    chosen = list(first[:count])
    for one in _most_changing(cases, found, num_saes):
        if len(chosen) >= count:
            break
        if one not in chosen:
            chosen.append(one)
    return chosen


def _most_changing(cases: Cases, found: EffectArrays, num_saes: int) -> Iterator[ColouredFeature]:
    first_M = np.flatnonzero(np.diff(cases.feature_M, prepend=-1))
    order = np.argsort(-found.raised_change_NK[:, 0], kind="stable")
    by_sae = [iter(order[cases.sae_M[first_M[order]] == sae].tolist()) for sae in range(num_saes)]
    seen: set[int] = set()
    while by_sae:
        for numbers in list(by_sae):
            feature = next((n for n in numbers if int(found.raised_NK[n, 0]) not in seen), None)
            if feature is None:
                by_sae.remove(numbers)
                continue
            seen.add(int(found.raised_NK[feature, 0]))
            row = first_M[feature]
            yield ColouredFeature(int(cases.sae_M[row]), int(cases.index_M[row]))


class ExampleReader:
    """Reads examples with the whole model, one by one."""

    def __init__(self, model: LanguageModel, corpus: TokenizedCorpus, cutting: Cutting, sink_norm: float) -> None:
        self._model, self._exact, self._corpus = model, ExactModel(model), corpus
        self._cutting, self._sink_norm = cutting, sink_norm

    def read(self, sae: SAE, index: int, examples: pa.Table) -> Iterator[Reading]:
        """The readings of a feature's strongest examples. examples: the artifact's, of the SAE."""
        rows = _strongest(examples, index)
        for example in examples.take(pa.array(rows)).to_pylist():
            start = self._cutting.start(example["start"])  # of its sequence
            length = example["start"] + example["length"] - start
            tokens_L = torch.from_numpy(self._corpus.opened((example["document"], start, length), self._cutting.bos_id))
            position, first = example["position"] - start + 1, example["start"] - start + 1
            yield {"index": index, "rank": example["rank"], **self._read(sae, index, tokens_L, position, first)}

    def _read(self, sae: SAE, index: int, tokens_L: torch.Tensor, position: int, first: int) -> Reading:
        x_LD, beside_LD = self._model.read(tokens_L[None]).of_row(0)
        exact = self._exact.of_text(beside_LD)
        left_out_L = left_out(x_LD, own_of_prompt(len(tokens_L)), self._sink_norm)
        fired = fire(exact, sae, index, tokens_L, position)
        changed = changes(exact, sae, index, x_LD, left_out_L, tokens_L, range(first - 1, len(tokens_L) - 1))
        after = moved(exact, sae, index, x_LD, left_out_L, position, MOVED)
        return {
            "kl": after.kl,
            **moved_lists({"raised": after.raised, "lowered": after.lowered}),
            "activation": fired.activation,
            "opening": float(fired.effect_L[0]),
            "before": float(fired.effect_L[1:first].sum()),
            "causes": fired.effect_L[first:].tolist(),
            "changes": changed.next_N.tolist(),
        }


def _strongest(examples: pa.Table, index: int) -> Ints:
    """Rows of a feature's strongest examples; tables are sorted by index, kind and rank."""
    index_M = examples["index"].to_numpy()
    start, stop = np.searchsorted(index_M, [index, index + 1]).tolist()
    kinds = examples["kind"].slice(start, stop - start).to_numpy()
    rows: Ints = start + np.flatnonzero(kinds == TOP)[:EXAMPLES_READ]
    return rows
