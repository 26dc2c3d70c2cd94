"""Statistics of every feature and the candidates for its examples, from one pass over the corpus.

The definitions, over all counted tokens (order of the corpus: the sequence's number, then the position):

    top       the highest activations, at most one for each document, its highest; of equal ones the earlier first
    bottom    the lowest activations that reach the floor (data.artifacts.features.bottom_floor); of equal ones the
              earlier first
    interval  from each of `bands` equal bands between 0 and the maximum a few at random

Each kind has one example at most of each context (data.artifacts.contexts): of copies the first by the same order.

Every activation is that of float32: a product in `examples.dtype` only finds the pairs of a feature and a token that
may be active (SAE.encode_by_feature).

How high the maximum is, and with it where the bands lie, is known at the end only. So the pass keeps, for every bin of
the activation histogram (data.artifacts.features.histogram_edges, four an octave), the 2 * `per_band` tokens with
the lowest hash of (feature, token): a uniform sample of the bin. Bins more than an octave below the lowest band's
upper edge, as far as the maximum is known, count as one. In the end each band takes the `per_band` lowest hashes among
the kept ones inside it. A band made of whole bins is sampled uniformly; where an edge cuts a bin, the bin gives what
its own sample has on that side. A band that comes out short, though bins that it cuts held more than was kept of
them, is open: another pass samples it (band_search.py).

Memory for each feature: a histogram, `top` + `bottom` + about 32 * `per_band` entries of 24 bytes and a fixed buffer
(more where copies crowd it, see shortlist.py); it does not depend on the corpus.

Shapes: N rows of a block, T rows encoded at once, K active (token, feature) pairs of a tile, F features, M candidates,
H histogram bins, A bands.
"""

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import (
    EXAMPLE_KINDS,
    FLOOR_BIN,
    HISTOGRAM_BINS,
    HISTOGRAM_STEPS_PER_OCTAVE,
    ExampleKind,
)
from pipeline.arrays import Floats, Hashes, Ints, Keys, Mask, ascending_keys, descending_keys, hash_keys, hash_tokens
from pipeline.examples.bands import Lattice, band_bounds, bands_of
from pipeline.examples.contexts import Contexts
from pipeline.examples.shortlist import SPARE_SIZE, Entries, Shortlist, first_distinct
from pipeline.models.sae import SAE
from pipeline.recipe import ExamplesConfig

TILE_ROWS = 2048
"""Rows encoded at once."""
BINS_BELOW = HISTOGRAM_STEPS_PER_OCTAVE
"""Range below the upper edge of the lowest band in which single bins are told apart: an octave."""
KEPT_OF_BIN = 2
"""Tokens kept of every bin for each that a band asks for: of a bin that an edge cuts, not all help the band."""
FEATURES_AT_ONCE = 1 << 14
"""Whose histograms are compared with the bands at once."""


class Statistics(NamedTuple):
    """See data.artifacts.features.STATISTICS."""

    num_active_F: Ints
    sum_F: npt.NDArray[np.float64]
    sum_squares_F: npt.NDArray[np.float64]
    max_F: Floats
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
    """The pre-activation: for all but contrast the activation too."""

    def take(self, which: Ints | npt.NDArray[np.bool_]) -> "Candidates":
        return Candidates._make(column[which] for column in self)


class Intervals(NamedTuple):
    """Samples of the bands of one SAE's features."""

    entries: Entries
    """Of group feature * bands + band, sorted by it, the lowest hashes first."""
    counts_FA: Ints
    """Tokens in each band: exact where there are fewer than `per_band`, else at most the number."""
    open_FA: Mask
    """Where neither as many were found as the recipe asks for, nor surely all that there are."""

    def candidates(self) -> Candidates:
        feature_M, band_M = np.divmod(self.entries.group_N, self.counts_FA.shape[1])
        return candidates_of("interval", self.entries._replace(group_N=feature_M), band_M.astype(np.int8))


def candidates_of(kind: ExampleKind, entries: Entries, band_M: npt.NDArray[np.int8] | None = None) -> Candidates:
    """Candidates of one kind, from entries whose group is the feature."""
    count = len(entries.group_N)
    return Candidates(
        feature_M=entries.group_N,
        kind_M=np.full(count, EXAMPLE_KINDS.index(kind), np.int8),
        band_M=np.full(count, -1, np.int8) if band_M is None else band_M,
        token_M=entries.token_N,
        pre_M=entries.value_N,
    )


def join(parts: list[Candidates]) -> Candidates:
    """All candidates of several lists."""
    return Candidates._make(np.concatenate(column) for column in zip(*parts, strict=True))


class Pairs(NamedTuple):
    """Active pairs of a feature and a token, sorted by feature, then row."""

    row_K: Ints
    feature_K: Ints
    value_K: Floats
    token_T: Ints
    """By row, see pack_tokens."""
    hash_T: Hashes

    def keys(self, feature_K: Ints) -> Keys:
        """By which features sample their tokens [K]."""
        return hash_keys(self.hash_T[self.row_K], feature_K)


def active_pairs(sae: SAE, x_ND: Tensor, token_N: Ints, dtype: torch.dtype) -> Iterator[Pairs]:
    """All active pairs of a block, tile by tile."""
    for start in range(0, len(token_N), TILE_ROWS):
        token_T = token_N[start : start + TILE_ROWS]
        hash_T = hash_tokens(token_T)
        for tile in sae.encode_by_feature(x_ND[start : start + TILE_ROWS].to(sae.device), dtype):
            if len(tile.feature_K):
                row_K, feature_K, value_K = (column.cpu().numpy() for column in tile)
                yield Pairs(row_K, feature_K, value_K, token_T, hash_T)


class FeatureSelection:
    """Statistics and candidates of one SAE, block after block."""

    def __init__(self, sae: SAE, config: ExamplesConfig, corpus: TokenizedCorpus) -> None:
        self.sae, self.config = sae, config
        self.dtype = getattr(torch, config.dtype)
        self.lattice = Lattice(sae.header.activation_scale)
        F = sae.num_features
        self.sum_F, self.sum_squares_F = np.zeros(F), np.zeros(F)
        self.max_F = np.zeros(F, np.float32)
        self.histogram_FH = np.zeros((F, HISTOGRAM_BINS), np.int64)
        self._lowest_bin_F = np.zeros(F, np.int64)
        self._context = Contexts(corpus).of
        self.top = top_shortlist(F, config.top, corpus)
        self.bottom = Shortlist(F, config.bottom, context=self._context)
        self.interval = Shortlist(F * HISTOGRAM_BINS, KEPT_OF_BIN * config.per_band, regroup=self._regroup)

    def add(self, x_ND: Tensor, token_N: Ints) -> None:
        """Take in the rows of a block; `token_N` names them (see pack_tokens), ascending within each sequence."""
        for pairs in active_pairs(self.sae, x_ND, token_N, self.dtype):
            self._add_pairs(pairs)

    def statistics(self) -> Statistics:
        """Statistics over all blocks."""
        return Statistics(self.histogram_FH.sum(1), self.sum_F, self.sum_squares_F, self.max_F, self.histogram_FH)

    def candidates(self, again: Entries | None = None) -> Candidates:
        """`top` and `bottom` of every feature. again: the top of those whose lists lack some, found anew."""
        top = self.top.result()
        if again is not None:
            rest = top.take(~np.isin(top.group_N, self.top.lacking()))
            columns: Iterator[tuple[np.ndarray, np.ndarray]] = zip(rest, again, strict=True)
            top = Entries._make(np.concatenate(pair) for pair in columns)
        return join([candidates_of("top", top), candidates_of("bottom", self.bottom.result())])

    def intervals(self) -> Intervals:
        """Samples of the bands of every feature, from those of the bins."""
        kept, (F, A) = self.interval.result(), (self.sae.num_features, self.config.bands)
        feature_N = kept.group_N // HISTOGRAM_BINS
        band_N = bands_of(kept.value_N, self.max_F[feature_N], A)
        in_bands = kept._replace(group_N=feature_N * A + band_N)
        chosen, _ = first_distinct(in_bands, self.config.per_band, self._context)
        found_FA = np.bincount(chosen.group_N, minlength=F * A).reshape(F, A)
        held_FA = np.minimum(np.bincount(in_bands.group_N, minlength=F * A).reshape(F, A), self.config.per_band)
        bin_N = feature_N * HISTOGRAM_BINS + self.lattice.bins(kept.value_N)
        kept_FH = np.bincount(bin_N, minlength=F * HISTOGRAM_BINS).reshape(F, HISTOGRAM_BINS)
        counts, more = [], []
        for start in range(0, F, FEATURES_AT_ONCE):
            some = slice(start, start + FEATURES_AT_ONCE)
            histogram, max_F, edges = self.histogram_FH[some], self.max_F[some], self.lattice.inner_edges
            counts.append(band_bounds(histogram, max_F, edges, A).least_FA)
            more.append(band_bounds(np.where(kept_FH[some] < histogram, histogram, 0), max_F, edges, A).most_FA > 0)
        open_FA = (found_FA < self.config.per_band) & np.concatenate(more)
        return Intervals(chosen, np.maximum(np.concatenate(counts), held_FA), open_FA)

    def _add_pairs(self, pairs: Pairs) -> None:
        feature_K, value_K = pairs.feature_K, pairs.value_K
        bin_K = self.lattice.bins(value_K)
        self._count(feature_K, bin_K, value_K)

        def offer(shortlist: Shortlist, group_K: Ints, key_K: Keys, among_K: Mask | None = None) -> None:
            admitted_K = shortlist.admits(group_K, key_K)
            which = np.flatnonzero(admitted_K if among_K is None else admitted_K & among_K)
            if len(which):
                token_W = pairs.token_T[pairs.row_K[which]]
                shortlist.add(Entries(group_K[which], key_K[which], token_W, value_K[which]))

        offer_top(self.top, feature_K, pairs)
        offer(self.bottom, feature_K, ascending_keys(value_K), bin_K >= FLOOR_BIN)
        group_K = feature_K * HISTOGRAM_BINS + np.maximum(bin_K, self._lowest_bin_F[feature_K])
        offer(self.interval, group_K, pairs.keys(feature_K))

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


def top_shortlist(num_groups: int, size: int, corpus: TokenizedCorpus, *, spare: int = SPARE_SIZE) -> Shortlist:
    """An empty list of the top: one token of each document, and one of each context."""
    document_S = np.asarray(corpus.sequences["document"], np.int64)

    def document_of(token_N: Ints) -> Ints:
        return cast(Ints, document_S[token_N >> 32])

    return Shortlist(num_groups, size, owner=document_of, context=Contexts(corpus).of, spare=spare)


def offer_top(top: Shortlist, group_K: Ints, pairs: Pairs) -> None:
    """Add to the top what may still belong there, of each sequence its highest. Groups below 0 are passed over."""
    key_K = descending_keys(pairs.value_K)
    which = np.flatnonzero(top.admits(group_K, key_K) & (group_K >= 0))
    token_W = pairs.token_T[pairs.row_K[which]]
    first = _first_of_runs(group_K[which], token_W >> 32, key_K[which])
    which, token_W = which[first], token_W[first]
    if len(which):
        top.add(Entries(group_K[which], key_K[which], token_W, pairs.value_K[which]))


def narrow(sae: SAE, features: Ints, lowest_U: Floats) -> tuple[SAE, Ints]:
    """An SAE that encodes some features alone, from an activation of each on, and the place of its features in them.

    Where all features decide together (topk) it is the whole one, and others have place -1.
    """
    if sae.header.nonlinearity == "topk":
        place_F = np.full(sae.num_features, -1)
        place_F[features] = np.arange(len(features))
        return sae, place_F
    chosen = torch.from_numpy(features).to(sae.device)
    return sae.among(chosen, torch.from_numpy(lowest_U).to(sae.device)), np.arange(len(features))


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
