"""Statistics of every feature and the candidates for its examples, from one pass over the corpus.

The definitions, over all counted tokens (order of the corpus: the sequence's number, then the position):

    top       the highest activations, at most one for each document; of equal ones the earlier first
    bottom    the lowest activations above zero; of equal ones the earlier first
    interval  from each of `bands` equal bands between 0 and the maximum a few at random

How high the maximum is, and with it where the bands lie, is known at the end only. So the pass keeps, for every bin of
the activation histogram (data.artifacts.features.histogram_edges, four an octave), the `per_band` tokens with the
lowest hash of (feature, token): a uniform sample of the bin. Bins more than an octave below the lowest band's
upper edge, as far as the maximum is known, count as one. In the end each band takes the `per_band` lowest hashes among
the kept ones inside it. A band made of whole bins is sampled uniformly; where an edge cuts a bin, the bin gives what
its own sample has on that side.

Memory for each feature: a histogram, `top` + `bottom` + about 16 * `per_band` entries of 24 bytes and a fixed buffer;
it does not depend on the corpus.

Shapes: N rows of a block, T rows encoded at once, K active (token, feature) pairs of a tile, F features, M candidates.
"""

from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.artifacts.features import (
    EXAMPLE_KINDS,
    HISTOGRAM_BINS,
    HISTOGRAM_STEPS_PER_OCTAVE,
    ExampleKind,
    histogram_edges,
)
from pipeline.arrays import Floats, Ints, ascending_keys, descending_keys, hash_keys, hash_tokens
from pipeline.examples.bands import bands_of
from pipeline.examples.shortlist import Entries, Shortlist, first_of_each
from pipeline.models.sae import SAE, SparseActivations
from pipeline.recipe import ExamplesConfig

TILE_ROWS = 2048
"""Rows encoded at once."""
BINS_BELOW = HISTOGRAM_STEPS_PER_OCTAVE
"""Range below the upper edge of the lowest band in which single bins are told apart: an octave."""


class Statistics(NamedTuple):
    """See data.artifacts.features.STATISTICS."""

    num_active_F: Ints
    sum_F: npt.NDArray[np.float64]
    sum_squares_F: npt.NDArray[np.float64]
    histogram_FH: npt.NDArray[np.int64]


class Candidates(NamedTuple):
    """Candidates for the examples of one SAE's features, all [M]."""

    feature_M: Ints
    kind_M: npt.NDArray[np.int8]
    """Number in EXAMPLE_KINDS."""
    band_M: npt.NDArray[np.int8]
    """interval: the band; others: -1."""
    token_M: Ints
    """See pack_tokens."""
    pre_M: Floats
    """contrast: the pre-activation; others: 0."""

    def take(self, which: Ints | npt.NDArray[np.bool_]) -> "Candidates":
        return Candidates._make(column[which] for column in self)


def candidates_of(kind: ExampleKind, entries: Entries, band_M: npt.NDArray[np.int8] | None = None) -> Candidates:
    """Candidates of one kind, from entries whose group is the feature."""
    count = len(entries.group_N)
    return Candidates(
        feature_M=entries.group_N,
        kind_M=np.full(count, EXAMPLE_KINDS.index(kind), np.int8),
        band_M=np.full(count, -1, np.int8) if band_M is None else band_M,
        token_M=entries.token_N,
        pre_M=np.zeros(count, np.float32),
    )


def join(parts: list[Candidates]) -> Candidates:
    """All candidates of several lists."""
    return Candidates._make(np.concatenate(column) for column in zip(*parts, strict=True))


class Lattice:
    """Finds the histogram bin of an activation without searching.

    The upper 16 bits of a float32 name a cell so narrow that at most one edge lies in it: a table gives the bin of the
    cell's lower end, one comparison with the next edge the rest.
    """

    def __init__(self, scale: float) -> None:
        edges = histogram_edges(scale)[1:-1]
        rounded = edges.astype(np.float32)
        # The lowest float32 not below each edge: comparing with it is comparing with the edge itself.
        self.inner_edges = np.where(rounded < edges, np.nextafter(rounded, np.float32(np.inf)), rounded)
        cells = (np.arange(1 << 15, dtype=np.uint32) << np.uint32(16)).view(np.float32)
        self._bin_of_cell = np.searchsorted(self.inner_edges, cells, side="right").astype(np.int64)
        self._next_edge = np.append(self.inner_edges, np.float32(np.inf))

    def bins(self, value_N: Floats) -> Ints:
        """Histogram bins of positive activations [N]."""
        bin_N = self._bin_of_cell[value_N.view(np.uint32) >> np.uint32(16)]
        return cast(Ints, bin_N + (value_N >= self._next_edge[bin_N]))


class FeatureSelection:
    """Statistics and candidates of one SAE, block after block.

    document_S: for every sequence its document, so that `top` takes one token of each.
    """

    def __init__(self, sae: SAE, config: ExamplesConfig, document_S: npt.NDArray[np.int32]) -> None:
        self.sae, self.config = sae, config
        self.dtype = getattr(torch, config.dtype)
        self.lattice = Lattice(sae.header.activation_scale)
        F = sae.num_features
        self.sum_F, self.sum_squares_F = np.zeros(F), np.zeros(F)
        self.max_F = np.zeros(F, np.float32)
        self.histogram_FH = np.zeros((F, HISTOGRAM_BINS), np.int64)
        self._lowest_bin_F = np.zeros(F, np.int64)
        self.top = Shortlist(F, config.top, owner=lambda token_N: document_S[token_N >> 32].astype(np.int64))
        # Close to zero some are active by the rounding of the pass alone: of half as many again the exact ones stay.
        self.bottom = Shortlist(F, config.bottom * 3 // 2)
        self.interval = Shortlist(F * HISTOGRAM_BINS, config.per_band, regroup=self._regroup)

    def add(self, x_ND: Tensor, token_N: Ints) -> None:
        """Take in the rows of a block; `token_N` names them (see pack_tokens), ascending within each sequence."""
        for start in range(0, len(token_N), TILE_ROWS):
            token_T = token_N[start : start + TILE_ROWS]
            hash_T = hash_tokens(token_T)
            x_TD = x_ND[start : start + TILE_ROWS].to(self.sae.device)
            for tile in self.sae.encode_by_feature(x_TD, self.dtype):
                self._add_tile(tile, token_T, hash_T)

    def statistics(self) -> Statistics:
        """Statistics over all blocks."""
        return Statistics(self.histogram_FH.sum(1), self.sum_F, self.sum_squares_F, self.histogram_FH)

    def candidates(self) -> Candidates:
        """`top`, `bottom` and `interval` of every feature."""
        interval, band_M = self._choose_interval()
        kinds = [candidates_of("top", self.top.result()), candidates_of("bottom", self.bottom.result())]
        return join([*kinds, candidates_of("interval", interval, band_M)])

    def _add_tile(self, tile: SparseActivations, token_T: Ints, hash_T: npt.NDArray[np.uint64]) -> None:
        if len(tile.feature_K) == 0:
            return
        row_K, feature_K, value_K = (column.cpu().numpy() for column in tile)
        bin_K = self.lattice.bins(value_K)
        self._count(feature_K, bin_K, value_K)

        def offer(shortlist: Shortlist, group_K: Ints, key_K: npt.NDArray[np.uint32]) -> None:
            which = np.flatnonzero(shortlist.admits(group_K, key_K))
            if shortlist is self.top:
                which = which[_first_of_runs(feature_K[which], token_T[row_K[which]] >> 32, key_K[which])]
            if len(which):
                shortlist.add(Entries(group_K[which], key_K[which], token_T[row_K[which]], value_K[which]))

        offer(self.top, feature_K, descending_keys(value_K))
        offer(self.bottom, feature_K, ascending_keys(value_K))
        group_K = feature_K * HISTOGRAM_BINS + np.maximum(bin_K, self._lowest_bin_F[feature_K])
        offer(self.interval, group_K, hash_keys(hash_T[row_K], feature_K))

    def _count(self, feature_K: Ints, bin_K: Ints, value_K: Floats) -> None:
        first, stop = int(feature_K[0]), int(feature_K[-1]) + 1
        local_K, size = feature_K - first, stop - first
        counts = np.bincount(local_K * HISTOGRAM_BINS + bin_K, minlength=size * HISTOGRAM_BINS)
        self.histogram_FH[first:stop] += counts.reshape(size, HISTOGRAM_BINS)
        self.sum_F[first:stop] += np.bincount(local_K, weights=value_K, minlength=size)
        square_K = np.square(value_K, dtype=np.float64)
        self.sum_squares_F[first:stop] += np.bincount(local_K, weights=square_K, minlength=size)
        higher = np.flatnonzero(value_K > self.max_F[feature_K])
        np.maximum.at(self.max_F, feature_K[higher], value_K[higher])

    def _regroup(self, group_N: Ints) -> Ints:
        """Groups (feature, bin) under the maximum known now: the lowest bins of a feature become one."""
        self._lowest_bin_F = np.maximum(self.lattice.bins(self.max_F / np.float32(self.config.bands)) - BINS_BELOW, 0)
        feature_N, bin_N = np.divmod(group_N, HISTOGRAM_BINS)
        return feature_N * HISTOGRAM_BINS + np.maximum(bin_N, self._lowest_bin_F[feature_N])

    def _choose_interval(self) -> tuple[Entries, npt.NDArray[np.int8]]:
        kept = self.interval.result()
        feature_N = kept.group_N // HISTOGRAM_BINS
        band_N = bands_of(kept.value_N, self.max_F[feature_N], self.config.bands)
        chosen = first_of_each(kept._replace(group_N=feature_N * self.config.bands + band_N), self.config.per_band)
        feature_M, band_M = np.divmod(chosen.group_N, self.config.bands)
        return chosen._replace(group_N=feature_M), band_M.astype(np.int8)


def _first_of_runs(feature_K: Ints, sequence_K: Ints, key_K: npt.NDArray[np.uint32]) -> Ints:
    """Places of the lowest key, the first of equal ones, in each run of one feature and sequence."""
    if len(feature_K) == 0:
        return np.zeros(0, np.int64)
    new_K = np.concatenate([[True], (feature_K[1:] != feature_K[:-1]) | (sequence_K[1:] != sequence_K[:-1])])
    starts = np.flatnonzero(new_K)
    run_K = np.cumsum(new_K) - 1
    lowest = np.flatnonzero(key_K == np.minimum.reduceat(key_K, starts)[run_K])
    run = run_K[lowest]
    return cast(Ints, lowest[np.concatenate([[True], run[1:] != run[:-1]])])
