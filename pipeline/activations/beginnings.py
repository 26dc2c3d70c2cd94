"""The residual stream of the beginnings of sequences, the opening token and attention sinks included.

Where the shards hold every row as the model gave it, rows come from there, and the model reads only what they lack: the
opening token, which is BOS before every sequence, and the sequences in which a token was left out. Where few
tokens are asked for, next to all that there are, the model reads them, for the shards are read whole; so it does where
there is no BOS, and every sequence opens otherwise; and where more than the activations at the hook is needed.

Shapes: S sequences of the corpus, B sequences of a batch, L positions (the opening one included), D width.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.layout import RunPaths
from data.manifests import require_stage
from pipeline.activations.batches import pad, plan_batches
from pipeline.activations.residuals import ResidualBlock, held_in_shards, residual_blocks
from pipeline.arrays import Ints
from pipeline.models.language_model import LanguageModel
from pipeline.recipe import Recipe

BLOCK_TOKENS = 1 << 16
"""Rows read from the shards at once."""
WORTH_READING = 0.1
"""Share of all tokens from which on the shards are read."""


class Beginnings(NamedTuple):
    """Some sequences, padded on the right."""

    numbers_B: Ints
    x_BLD: Tensor
    """The activations at the hook in the model's dtype."""
    beside_BLD: Tensor | None = None
    """What stands beside them, see hooks.py."""


def read_beginnings(recipe: Recipe, paths: RunPaths, model: LanguageModel, positions_S: Ints) -> Iterator[Beginnings]:
    """Every sequence of the corpus that has positions to read. positions_S: how many, the opening one included."""
    corpus = TokenizedCorpus(paths.stage("tokenize"))
    harvest = require_stage(paths, "harvest")
    bos_id: int | None = harvest.counts["bos_id"]
    reader = _Reader(recipe, corpus, model, positions_S, bos_id)
    total = int(corpus.sequences["length"].sum())
    held = held_in_shards(harvest) and bos_id is not None and not model.cut.needs_beside
    if held and positions_S.sum() >= WORTH_READING * total:
        for block in residual_blocks(recipe, paths, block_tokens=BLOCK_TOKENS):
            yield from reader.from_block(block)
    else:
        yield from reader.from_model(np.flatnonzero(positions_S))


class _Reader:
    def __init__(
        self, recipe: Recipe, corpus: TokenizedCorpus, model: LanguageModel, positions_S: Ints, bos_id: int | None
    ) -> None:
        self._corpus, self._model, self._positions_S, self._bos_id = corpus, model, positions_S, bos_id
        self._batch_tokens = recipe.harvest.batch_tokens

    @cached_property
    def _opening_D(self) -> Tensor:
        return self._model.residuals(torch.tensor([[self._bos_id]]))[0, 0]

    def from_model(self, numbers_S: Ints) -> Iterator[Beginnings]:
        """Sequences by number, read by the model."""
        for batch in plan_batches(self._positions_S[numbers_S] - 1, self._batch_tokens):
            numbers_B = numbers_S[batch]
            chosen = zip(self._corpus.sequences[numbers_B].tolist(), self._positions_S[numbers_B].tolist(), strict=True)
            opened = [self._corpus.opened(sequence, self._bos_id)[:positions] for sequence, positions in chosen]
            yield Beginnings(numbers_B, *self._model.read(torch.from_numpy(pad(opened))))

    def from_block(self, block: ResidualBlock) -> Iterator[Beginnings]:
        """The sequences of a block of rows, those with a token that was left out read by the model."""
        sequence_N = block.index_N["sequence"].astype(np.int64)
        place_N = block.index_N["position"] - self._corpus.sequences["start"][sequence_N] + 1
        wanted_N = np.flatnonzero(place_N < self._positions_S[sequence_N])
        numbers, counts = np.unique(sequence_N[wanted_N], return_counts=True)
        whole = counts == self._positions_S[numbers] - 1
        for batch in plan_batches(counts[whole], self._batch_tokens):
            numbers_B = np.sort(numbers[whole][batch])
            rows = wanted_N[np.isin(sequence_N[wanted_N], numbers_B)]
            yield Beginnings(numbers_B, self._filled(block.x_ND, numbers_B, sequence_N[rows], place_N[rows], rows))
        yield from self.from_model(numbers[~whole])

    def _filled(self, x_ND: Tensor, numbers_B: Ints, sequence_K: Ints, place_K: Ints, row_K: Ints) -> Tensor:
        width = int(self._positions_S[numbers_B].max())
        x_BLD = torch.zeros(len(numbers_B), width, x_ND.shape[1], dtype=self._model.dtype, device=self._model.device)
        x_BLD[:, 0] = self._opening_D
        row_B = torch.from_numpy(np.searchsorted(numbers_B, sequence_K))
        x_BLD[row_B, torch.from_numpy(place_K.astype(np.int64))] = x_ND[torch.from_numpy(row_K)].to(x_BLD)
        return x_BLD
