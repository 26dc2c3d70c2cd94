"""Activations drawn evenly over the range of features, each with its window, in one reading of the corpus.

The range of a feature, zero to its maximum, is cut into bands of equal width. Every activation has a key, a hash of its
token, the feature and the seed; each band keeps those with the lowest keys: a uniform sample without replacement,
the same in whatever order the corpus is read.

Meanwhile texts without the features are found: of windows that were drawn beforehand, those in which a feature is
active nowhere.

Memory: about 60 bytes for each sample and 6 for each active token of its window; a bit for each window and feature.

Shapes: N rows of a block, C chosen features of one SAE, A bands, K active pairs, M samples, E active tokens of windows,
P windows drawn beforehand.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Floats, Ints, Keys, hash_keys, hash_tokens, ranges, ranks, sort_order, unpack_tokens
from pipeline.examples.bands import bands_of
from pipeline.models.sae import SAE

EVERY_KEY = np.uint64(1) << np.uint64(32)
COMPACT_FROM = 1 << 16
"""Samples that are held beyond twice what is kept, before those that lost their places are dropped."""


class Windows(NamedTuple):
    """Windows of tokens, each around one."""

    token_P: Ints
    """The middle: sequence and position in the document, see pack_tokens; ascending."""
    start_P: Ints
    """Position of the first token, in its document."""
    stop_P: Ints
    """One after the last."""

    def take(self, some: slice) -> "Windows":
        """Some of them."""
        return Windows(self.token_P[some], self.start_P[some], self.stop_P[some])


def windows_around(token_P: Ints, corpus: TokenizedCorpus, context: int) -> Windows:
    """The windows around tokens, as far as their sequences reach."""
    sequence_P, position_P = unpack_tokens(token_P)
    sequences = corpus.sequences[sequence_P]
    first_P = sequences["start"].astype(np.int64)
    start_P = np.maximum(position_P - context, first_P)
    return Windows(token_P, start_P, np.minimum(position_P + context + 1, first_P + sequences["length"]))


def draw_windows(
    corpus: TokenizedCorpus, count: int, context: int, seed: int, numbers_S: Ints | None = None
) -> Windows:
    """Windows of some sequences, or of all training ones, around tokens drawn at random, each once."""
    numbers_S = corpus.sequence_numbers(held_out=False) if numbers_S is None else numbers_S
    lengths_S = corpus.sequences["length"][numbers_S].astype(np.int64)
    ends_S = np.cumsum(lengths_S)
    total = int(ends_S[-1])
    drawn_P = np.unique(np.random.default_rng(seed).integers(total, size=min(count, total)))
    at_P = np.searchsorted(ends_S, drawn_P, side="right")
    position_P = corpus.sequences["start"][numbers_S[at_P]] + drawn_P - (ends_S - lengths_S)[at_P]
    return windows_around((numbers_S[at_P] << 32) | position_P, corpus, context)


class FeatureRows:
    """Where the samples of each feature stand, which are together."""

    def __init__(self, feature_M: Ints) -> None:
        """feature_M: of the samples; those of one feature follow each other."""
        first_R = np.flatnonzero(np.diff(feature_M, prepend=-1))
        stop_R = np.append(first_R[1:], len(feature_M))[: len(first_R)]
        order_R = np.argsort(feature_M[first_R])
        self._feature_R = feature_M[first_R][order_R]
        self._first_R, self._stop_R = first_R[order_R], stop_R[order_R]

    def of(self, feature: int) -> slice:
        """The samples of one feature, by its number."""
        at = int(np.searchsorted(self._feature_R, feature))
        if at == len(self._feature_R) or self._feature_R[at] != feature:
            return slice(0, 0)
        return slice(int(self._first_R[at]), int(self._stop_R[at]))


class Samples(NamedTuple):
    """Samples of some features, those of each together, its highest band first, then by key."""

    feature_M: Ints
    """Number of the feature among the chosen ones."""
    band_M: Ints
    rank_M: Ints
    """In its band, in the order of keys, which is random."""
    windows: Windows
    value_M: Floats
    first_M: Ints
    """Place at which the window's active tokens begin in offset_E and value_E."""
    count_M: Ints
    offset_E: Ints
    """From the window's first token."""
    value_E: Floats

    def active(self, sample: int) -> tuple[Ints, Floats]:
        """Offsets and activations of the active tokens of one window."""
        some = slice(int(self.first_M[sample]), int(self.first_M[sample] + self.count_M[sample]))
        return self.offset_E[some], self.value_E[some]


def no_samples() -> Samples:
    """The samples of an SAE without chosen features."""
    nothing, none = np.empty(0, np.int64), np.empty(0, np.float32)
    windows = Windows(nothing, nothing, nothing)
    return Samples(nothing, nothing, nothing, windows, none, nothing, nothing, nothing, none)


class _Held(NamedTuple):
    """Samples that are held, in any order."""

    slot_M: Ints
    key_M: Keys
    token_M: Ints
    value_M: Floats
    count_M: Ints
    position_E: Ints
    value_E: Floats

    def take(self, order: Ints) -> "_Held":
        first_M = np.cumsum(self.count_M) - self.count_M
        place_E = ranges(first_M[order], self.count_M[order])
        return _Held(
            self.slot_M[order], self.key_M[order], self.token_M[order], self.value_M[order], self.count_M[order],
            self.position_E[place_E], self.value_E[place_E],
        )  # fmt: skip


NOTHING = _Held(
    np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.float32),
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32),
)  # fmt: skip


class BandSampler:
    """Draws samples of the chosen features of one SAE, block after block."""

    def __init__(
        self, sae: SAE, chosen: Ints, max_C: Floats, *, bands: int, per_band: int, context: int, absent: Windows,
        seed: int,
    ) -> None:  # fmt: skip
        """max_C: the features' maxima. absent: windows, of which it tells where a feature is active nowhere."""
        self._chosen, self._max_C, self._bands, self._per_band, self._context = chosen, max_C, bands, per_band, context
        self._whole = sae.header.nonlinearity == "topk"
        features = torch.from_numpy(chosen).to(sae.device)
        self._sae = sae if self._whole else sae.among(features, sae.threshold_F[features])
        self._seed = np.uint64(np.random.SeedSequence([seed, 7]).generate_state(1, np.uint64)[0])
        self._cut_S = np.full(len(chosen) * bands, EVERY_KEY)
        self._held = NOTHING
        self._new: list[_Held] = []
        self._num_new = 0
        self._absent = absent
        self.seen_P = np.zeros(len(absent.token_P), bool)
        """Windows that were read [P]."""
        self.active_PC = np.zeros((len(absent.token_P), len(chosen)), bool)
        """Windows in which a feature is active somewhere."""

    def add(self, x_ND: Tensor, token_N: Ints) -> None:
        """Take in the rows of a block, which holds whole sequences; `token_N` ascends within each."""
        block = _Block.of(token_N)
        for row_K, column_K, value_K in self._pairs(x_ND):
            self._draw(block, row_K, column_K, value_K)
            self._look(block, row_K, column_K)
        if self._num_new > COMPACT_FROM + 2 * len(self._held.slot_M):
            self._compact()

    def finish(self, corpus: TokenizedCorpus) -> Samples:
        """All samples."""
        self._compact()
        feature_M, band_M = np.divmod(self._held.slot_M, self._bands)
        held = self._held.take(sort_order(feature_M, self._bands - band_M, self._held.key_M.astype(np.int64)))
        feature_M, band_M = np.divmod(held.slot_M, self._bands)
        windows = windows_around(held.token_M, corpus, self._context)
        offset_E = held.position_E - np.repeat(windows.start_P, held.count_M)
        first_M = np.cumsum(held.count_M) - held.count_M
        return Samples(
            feature_M, band_M, ranks(held.slot_M), windows, held.value_M, first_M, held.count_M, offset_E, held.value_E
        )

    def _pairs(self, x_ND: Tensor) -> Iterator[tuple[Ints, Ints, Floats]]:
        """Row, number of the feature and activation of every active pair, sorted by feature, then row."""
        for found in self._sae.encode_by_feature(x_ND.to(self._sae.device)):
            row_K, feature_K, value_K = (column.cpu().numpy() for column in found)
            if self._whole:
                kept_K = np.isin(feature_K, self._chosen)
                row_K, feature_K, value_K = row_K[kept_K], feature_K[kept_K], value_K[kept_K]
                feature_K = np.searchsorted(self._chosen, feature_K)
            yield row_K, feature_K, value_K

    def _draw(self, block: "_Block", row_K: Ints, column_K: Ints, value_K: Floats) -> None:
        band_K = bands_of(value_K, self._max_C[column_K], self._bands)
        slot_K = column_K * self._bands + band_K
        key_K = hash_keys(hash_tokens(block.token_N[row_K]) ^ self._seed, self._chosen[column_K])
        drawn_M = np.flatnonzero(key_K < self._cut_S[slot_K])
        if len(drawn_M) == 0:
            return
        from_M, to_M = block.rows_near(row_K[drawn_M], self._context)
        pair_K = column_K * len(block.token_N) + row_K
        base_M = column_K[drawn_M] * len(block.token_N)
        first_M, stop_M = np.searchsorted(pair_K, base_M + from_M), np.searchsorted(pair_K, base_M + to_M)
        place_E = ranges(first_M, stop_M - first_M)
        self._new.append(
            _Held(
                slot_K[drawn_M], key_K[drawn_M], block.token_N[row_K[drawn_M]], value_K[drawn_M], stop_M - first_M,
                block.position_N[row_K[place_E]], value_K[place_E],
            )
        )  # fmt: skip
        self._num_new += len(drawn_M)

    def _look(self, block: "_Block", row_K: Ints, column_K: Ints) -> None:
        """Note which features are active in the windows that lie in a block."""
        window_W, from_W, to_W = block.windows(self._absent)
        self.seen_P[window_W] = True
        pair_K = column_K * len(block.token_N) + row_K
        for column in np.unique(column_K).tolist():
            base = column * len(block.token_N)
            first_W, stop_W = np.searchsorted(pair_K, base + from_W), np.searchsorted(pair_K, base + to_W)
            self.active_PC[window_W[stop_W > first_W], column] = True

    def _compact(self) -> None:
        """Keep the lowest keys of every band, and note what is not low enough any more."""
        held = _Held(*(np.concatenate(column) for column in zip(self._held, *self._new, strict=True)))
        order = sort_order(held.slot_M, held.key_M.astype(np.int64))
        rank_M = ranks(held.slot_M[order])
        last = order[rank_M == self._per_band - 1]
        self._cut_S[held.slot_M[last]] = held.key_M[last]
        self._held = held.take(order[rank_M < self._per_band])
        self._new, self._num_new = [], 0


class _Block(NamedTuple):
    """The tokens of a block of whole sequences."""

    token_N: Ints
    position_N: Ints
    run_N: Ints
    """Number of each row's sequence in the block."""
    sequence_R: Ints
    """Number of each of these in the corpus."""
    place_N: Ints
    """Ascending: number in the block, then position."""

    @classmethod
    def of(cls, token_N: Ints) -> "_Block":
        sequence_N, position_N = unpack_tokens(token_N)
        new_N = np.diff(sequence_N, prepend=-1) != 0
        run_N = np.cumsum(new_N) - 1
        return cls(token_N, position_N, run_N, sequence_N[new_N], (run_N << 32) | position_N)

    def rows_near(self, row_M: Ints, context: int) -> tuple[Ints, Ints]:
        """The first row of the window around each row, and one after the last. Rows that were left out have none."""
        position_M, run_M = self.position_N[row_M], self.run_N[row_M] << 32
        first_M = np.searchsorted(self.place_N, run_M | np.maximum(position_M - context, 0))
        return first_M, np.searchsorted(self.place_N, run_M | (position_M + context + 1))

    def windows(self, windows: Windows) -> tuple[Ints, Ints, Ints]:
        """Numbers of the windows that lie in this block, their first rows, and one after their last."""
        sequence_P, _ = unpack_tokens(windows.token_P)
        low_R, high_R = (np.searchsorted(sequence_P, self.sequence_R, side) for side in ("left", "right"))
        window_W = ranges(low_R, high_R - low_R)
        run_W = np.repeat(np.arange(len(self.sequence_R)), high_R - low_R) << 32
        first_W = np.searchsorted(self.place_N, run_W | windows.start_P[window_W])
        return window_W, first_W, np.searchsorted(self.place_N, run_W | windows.stop_P[window_W])
