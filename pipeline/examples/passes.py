"""The two passes over the corpus that find the examples of several SAEs together, and fill in their windows.

Shapes: N rows of a block, D width.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import TOP
from pipeline.arrays import Ints
from pipeline.examples.contrast import ContrastSearch, Occurrences
from pipeline.examples.selection import Candidates, FeatureSelection, Statistics, join
from pipeline.examples.windows import WindowGather
from pipeline.models.sae import SAE
from pipeline.recipe import ExamplesConfig

Blocks = Iterable[tuple[Tensor, Ints]]
"""Rows [N, D] of whole sequences, and the tokens that they belong to (see pack_tokens) [N]."""


class Selected(NamedTuple):
    """Findings of the first pass for one SAE."""

    statistics: Statistics
    chosen: Candidates


def select(
    saes: Mapping[str, SAE], corpus: TokenizedCorpus, vocab_size: int, config: ExamplesConfig, blocks: Blocks
) -> tuple[dict[str, Selected], int]:
    """Statistics and chosen tokens of every SAE by name, and how many tokens were counted."""
    document_S = np.asarray(corpus.sequences["document"])
    selections = {name: FeatureSelection(sae, config, document_S) for name, sae in saes.items()}
    occurrences = Occurrences(corpus, vocab_size, config.contrast_occurrences)
    num_tokens = 0
    for x_ND, token_N in blocks:
        occurrences.add(x_ND, token_N)
        for selection in selections.values():
            selection.add(x_ND, token_N)
        num_tokens += len(token_N)
    search = ContrastSearch(corpus, occurrences, vocab_size)
    selected = {}
    for name, selection in selections.items():
        found = selection.candidates()
        contrast = search.find(saes[name], found.take(found.kind_M == TOP), config.contrast)
        selected[name] = Selected(selection.statistics(), join([found, contrast]))
    return selected, num_tokens


def gather(
    saes: Mapping[str, SAE], selected: Mapping[str, Selected], corpus: TokenizedCorpus, context: int, blocks: Blocks
) -> dict[str, WindowGather]:
    """The windows of every SAE's examples by name, over the same blocks."""
    gathers = {name: WindowGather(sae, selected[name].chosen, corpus, context) for name, sae in saes.items()}
    for x_ND, token_N in blocks:
        for windows in gathers.values():
            windows.add(x_ND, token_N)
    return gathers
