"""Windows of examples: the context of each, with every token's activation, recomputed exactly.

A last pass over the same blocks takes, in float32, only the features that have an example nearby. The token that made
an example keeps the value by which it was chosen, and nothing is above the maximum: a product that is added up in
another order differs in its last digits.

Memory: 60 bytes for each example and 14 for each active token in a window; it does not depend on the corpus.

Shapes: N rows of a block, M examples of one SAE (sorted by token), R rows of a segment, W windows of a segment,
C distinct features of a segment, E active tokens of windows.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import BOTTOM, CONTRAST, EXAMPLE_KINDS
from pipeline.arrays import Floats, Ints, ascending_keys, descending_keys, ranges, ranks, sort_order, unpack_tokens
from pipeline.examples.contexts import Repeats
from pipeline.examples.selection import Candidates
from pipeline.models.sae import SAE

SEGMENT_ROWS = 512
SEGMENT_WINDOWS = 4096
"""A segment is computed densely, [SEGMENT_ROWS, features of at most SEGMENT_WINDOWS windows]: short segments have fewer
features that others in the block need."""


class Examples(NamedTuple):
    """Finished examples of one SAE, sorted by feature, kind and rank."""

    chosen: Candidates
    rank_M: Ints
    start_M: Ints
    """Position of the window's first token in its document."""
    length_M: Ints
    activation_M: Floats
    pre_activation_M: Floats
    first_M: Ints
    """Place where the window's active tokens begin in offset_E and value_E."""
    count_M: Ints
    offset_E: npt.NDArray[np.int16]
    value_E: Floats
    repeats_M: Ints
    """Other places in the same context."""


class WindowGather:
    """Fills in the windows of one SAE's examples, block after block."""

    def __init__(self, sae: SAE, chosen: Candidates, corpus: TokenizedCorpus, context: int) -> None:
        self.sae, self.context = sae, context
        self.chosen = chosen.take(sort_order(chosen.token_M))
        self._sequence_M, position_M = unpack_tokens(self.chosen.token_M)
        sequences = corpus.sequences[self._sequence_M]
        first_M = sequences["start"].astype(np.int64)
        self.start_M = np.maximum(position_M - context, first_M)
        self.stop_M = np.minimum(position_M + context + 1, first_M + sequences["length"])
        self._peak_M = position_M - self.start_M
        nothing = (np.zeros(0, np.int64), np.zeros(0, np.int16), np.zeros(0, np.float32))
        self._found: list[tuple[Ints, npt.NDArray[np.int16], Floats]] = [nothing]

    def add(self, x_ND: Tensor, token_N: Ints) -> None:
        """Take in the rows of a block, which holds whole sequences; `token_N` ascends within each."""
        sequence_N, position_N = unpack_tokens(token_N)
        run_starts = np.flatnonzero(np.diff(sequence_N, prepend=-1) != 0)
        low, high = (np.searchsorted(self._sequence_M, sequence_N[run_starts], side=side) for side in ("left", "right"))
        example_W = ranges(low, high - low)
        run_W = np.repeat(np.arange(len(run_starts)), high - low)
        # Rows left out of the block have no place, so a window's rows are found by position, not by counting.
        place_N = (np.cumsum(np.diff(sequence_N, prepend=-1) != 0) - 1 << 32) | position_N
        first_W = np.searchsorted(place_N, (run_W << 32) | self.start_M[example_W])
        stop_W = np.searchsorted(place_N, (run_W << 32) | self.stop_M[example_W])
        for start in range(0, len(token_N), SEGMENT_ROWS):
            stop = min(start + SEGMENT_ROWS, len(token_N))
            # Examples are sorted by token, so first_W and stop_W ascend and a segment's windows stand together.
            a, b = int(np.searchsorted(stop_W, start, side="right")), int(np.searchsorted(first_W, stop))
            for chunk in range(a, b, SEGMENT_WINDOWS):
                some = slice(chunk, min(chunk + SEGMENT_WINDOWS, b))
                rows_W = np.maximum(first_W[some], start) - start, np.minimum(stop_W[some], stop) - start
                self._segment(x_ND[start:stop], position_N[start:stop], example_W[some], *rows_W)

    def _segment(self, x_RD: Tensor, position_R: Ints, example_W: Ints, first_W: Ints, stop_W: Ints) -> None:
        features, column_W = np.unique(self.chosen.feature_M[example_W], return_inverse=True)
        acts_RC = self.sae.encode(x_RD.to(self.sae.device), torch.from_numpy(features).to(self.sae.device))
        width = min(2 * self.context + 1, len(position_R))
        padded_CR = torch.zeros(len(features), len(position_R) + width)
        padded_CR[:, : len(position_R)] = acts_RC.T
        view = np.lib.stride_tricks.sliding_window_view(padded_CR.numpy(), width, axis=1)
        window_WL = view[column_W, first_W]
        inside_WL = np.arange(width) < (stop_W - first_W)[:, None]
        window_E, place_E = np.nonzero((window_WL > 0) & inside_WL)
        example_E = example_W[window_E]
        offset_E = position_R[first_W[window_E] + place_E] - self.start_M[example_E]
        self._found.append((example_E, offset_E.astype(np.int16), window_WL[window_E, place_E]))

    def finish(self, max_F: Floats, repeats: Repeats) -> Examples:
        """Examples in their final order. max_F: the maximum of every feature; repeats: counted over the same blocks."""
        example_E, offset_E, value_E = self._collect(max_F)
        chosen = self.chosen
        count_M = np.bincount(example_E, minlength=len(chosen.feature_M))
        activation_M = np.zeros(len(chosen.feature_M), np.float32)
        at_peak = offset_E == self._peak_M[example_E]
        activation_M[example_E[at_peak]] = value_E[at_peak]
        pre_M = np.where(activation_M > 0, activation_M, chosen.pre_M)
        order = _final_order(chosen, activation_M, pre_M)
        return Examples(
            chosen=chosen.take(order),
            rank_M=ranks(_group(chosen.take(order))),
            start_M=self.start_M[order],
            length_M=(self.stop_M - self.start_M)[order],
            activation_M=activation_M[order],
            pre_activation_M=pre_M[order],
            first_M=(np.cumsum(count_M) - count_M)[order],
            count_M=count_M[order],
            offset_E=offset_E,
            value_E=value_E,
            repeats_M=repeats.of(chosen.token_M)[order],
        )

    def _collect(self, max_F: Floats) -> tuple[Ints, npt.NDArray[np.int16], Floats]:
        """All active tokens of windows, sorted by example, then offset; each example's own with the value it has."""
        example_E, offset_E, value_E = (np.concatenate(column) for column in zip(*self._found, strict=True))
        self._found = []
        own = np.flatnonzero(self.chosen.kind_M != CONTRAST)
        other_E = (self.chosen.kind_M[example_E] == CONTRAST) | (offset_E != self._peak_M[example_E])
        example_E = np.concatenate([example_E[other_E], own])
        offset_E = np.concatenate([offset_E[other_E], self._peak_M[own].astype(np.int16)])
        value_E = np.concatenate([value_E[other_E], self.chosen.pre_M[own]])
        order = sort_order(example_E << 16 | offset_E.astype(np.int64))
        value_E = np.minimum(value_E, max_F[self.chosen.feature_M[example_E]])
        return example_E[order], offset_E[order], value_E[order]


def _final_order(chosen: Candidates, activation_M: Floats, pre_M: Floats) -> Ints:
    """The order by feature, kind and rank: strongest first, for `bottom` and `contrast` lowest first."""
    key_M = np.where(chosen.kind_M == BOTTOM, ascending_keys(activation_M), descending_keys(activation_M))
    key_M = np.where(chosen.kind_M == CONTRAST, ascending_keys(pre_M), key_M)
    return sort_order((_group(chosen) << 32) | key_M, chosen.token_M)


def _group(chosen: Candidates) -> Ints:
    """One number for each feature and kind [M]."""
    return chosen.feature_M * len(EXAMPLE_KINDS) + chosen.kind_M
