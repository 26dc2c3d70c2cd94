"""Whether published examples are the strongest, the lowest and all that there are, on a sample of the texts.

Features of each SAE are drawn at random, and their activations computed in float32 on some batches of the harvest. No
token there may beat what is stored: exceed the maximum, belong among the top or the bottom without being stored (nor
standing in the same context as one that is), or stand in a band that is said to hold fewer. The language model rounds:
how much that moves activations is measured on the stored examples that lie in the same texts, and only what goes beyond
is held against the run.

Shapes: U features of a sample, A bands, M stored examples, N tokens of a block, K active pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.artifacts.features import BOTTOM, CONTRAST, INTERVAL, TOP, bottom_floor
from data.published.tables import PublishedRun
from data.sql.records import SAERecord
from pipeline.arrays import Floats, Ints, Mask, contains, ranges, splitmix64
from pipeline.doctor.checks import ROUNDING, Check, some
from pipeline.examples.bands import bands_of
from pipeline.models.sae import SAE

NUM_FEATURES = 2048
"""Of each SAE."""
LEAST_NOISE, MOST_NOISE = 1e-3, 2.0
"""Between which the measured noise is taken, in units of ROUNDING * |w| |x|: float32 sums differ in their last digits,
and what moves further than the upper one is no rounding."""
FEATURE_COLUMNS = ["max", "num_active", "num_above_floor", "band_counts", "num_examples", "first_example"]
EXAMPLE_COLUMNS = ["kind", "band", "document", "position", "activation", "repeats"]


@dataclass(frozen=True)
class Stored:
    """What is published of some features of an SAE."""

    index_U: Ints
    max_U: Floats
    num_active_U: Ints
    num_above_floor_U: Ints
    band_counts_UA: Ints
    num_examples_UK: Ints
    place_M: Ints
    """Of the example's feature in the sample."""
    kind_M: Ints
    band_M: Ints
    token_M: Ints
    """Document row and position, packed."""
    activation_M: Floats
    repeats_M: Ints

    @classmethod
    def of(cls, run: PublishedRun, record: SAERecord) -> "Stored":
        index_U = np.sort(some(record.num_features, NUM_FEATURES))
        table = run.take("features", (record.first_row + index_U).tolist(), FEATURE_COLUMNS)
        found = {name: np.array(table[name].to_pylist()) for name in FEATURE_COLUMNS}
        count_U = found["num_examples"].sum(1)
        rows = ranges(found["first_example"], count_U)
        examples = run.take("examples", rows.tolist(), EXAMPLE_COLUMNS)
        kind_M, band_M, document_M, position_M = (
            examples[name].to_numpy().astype(np.int64) for name in EXAMPLE_COLUMNS[:4]
        )
        return cls(
            index_U, found["max"].astype(np.float32), found["num_active"], found["num_above_floor"],
            found["band_counts"], found["num_examples"].astype(np.int64), np.repeat(np.arange(len(index_U)), count_U),
            kind_M, band_M, document_M << 32 | position_M, examples["activation"].to_numpy(),
            examples["repeats"].to_numpy().astype(np.int64),
        )  # fmt: skip

    def last_of(self, kind: int, wanted: int, otherwise: float) -> Floats:
        """Activation of the last example of a kind [U]; `otherwise` where there are fewer than wanted."""
        last_U = np.full(len(self.index_U), otherwise, np.float32)
        mine = np.flatnonzero(self.kind_M == kind)
        last_U[self.place_M[mine]] = self.activation_M[mine]  # sorted by rank: the last stays
        last_U[self.num_examples_UK[:, kind] < wanted] = otherwise
        return last_U


class Extremes:
    """Compares one SAE's stored examples with all tokens of a sample, block after block."""

    def __init__(
        self,
        sae: SAE,
        record: SAERecord,
        stored: Stored,
        config: dict[str, Any],
        contexts: Callable[[int], Ints],
    ) -> None:
        """contexts: numbers of the contexts of all tokens of a document, by its row."""
        self._contexts = contexts
        self._copied = {kind: self._contexts_of(stored, kind) for kind in (TOP, BOTTOM)}
        self._sae, self._stored, self._config, self._name = sae, stored, config, record.name
        self._floor = bottom_floor(record.histogram_scale)
        self._lowest_top_U = stored.last_of(TOP, config["top"], 0.0)
        self._highest_bottom_U = stored.last_of(BOTTOM, config["bottom"], np.inf)
        top_M = stored.kind_M == TOP
        self._top_documents = np.sort(stored.place_M[top_M] << 32 | stored.token_M[top_M] >> 32)
        self._place_F = np.full(sae.num_features, -1)
        self._place_F[stored.index_U] = np.arange(len(stored.index_U))
        self._norm_U = sae.W_enc_FD[torch.from_numpy(stored.index_U)].norm(dim=1).cpu().numpy()
        nothing_U = np.full(len(stored.index_U), -np.inf)
        self._beats = {kind: nothing_U.copy() for kind in ("maxima", "top", "bottom")}
        """By how much a token beats what is stored, in units of rounding [U]; -inf where none does."""
        self._seen_UA = np.zeros_like(stored.band_counts_UA)
        self._noise, self.num_tokens = 0.0, 0

    def add(self, x_ND: Tensor, token_N: Ints) -> None:
        """Take in counted tokens, named by document row and position (packed, all different)."""
        order = np.argsort(token_N)
        token_N, x_ND = token_N[order], x_ND[torch.from_numpy(order).to(x_ND.device)]
        self.num_tokens += len(token_N)
        place_K, n_K, value_K = self._activations(x_ND)
        unit_K = ROUNDING * self._norm_U[place_K] * self._sae.standardise(x_ND.float()).norm(dim=1).cpu().numpy()[n_K]
        stored_K = self._compare_stored(token_N, place_K * len(token_N) + n_K, value_K, unit_K)
        self._note("maxima", place_K, (value_K - self._stored.max_U[place_K]) / unit_K)
        listed_K = contains(self._top_documents, place_K << 32 | token_N[n_K] >> 32)
        excess_K = (value_K - self._lowest_top_U[place_K]) / unit_K
        listed_K |= self._hold_copies(place_K, token_N[n_K] >> 32, ~listed_K & (excess_K > 0))
        self._note("top", place_K[~listed_K], excess_K[~listed_K])
        below_K = np.minimum(self._highest_bottom_U[place_K] - value_K, value_K - self._floor) / unit_K
        stored_K |= self._are_copies(place_K, token_N[n_K], ~stored_K & (below_K > 0))
        self._note("bottom", place_K[~stored_K], below_K[~stored_K])
        bands, max_K = self._config["bands"], self._stored.max_U[place_K]
        low_K, high_K = (bands_of(np.maximum(value_K + d * unit_K / 4, 0), max_K, bands) for d in (-1, 1))
        inside = low_K == high_K
        np.add.at(self._seen_UA, (place_K[inside], low_K[inside]), 1)

    def checks(self) -> list[Check]:
        """One for each claim, in features."""
        noise = min(max(2 * self._noise, LEAST_NOISE), MOST_NOISE)
        tolerance = f"{noise:.2g} roundings of |w||x|"
        found = f"on {self.num_tokens:,} tokens"
        checks = [self._check(what, beats_U <= noise, tolerance, found) for what, beats_U in self._beats.items()]
        few_UA = self._stored.band_counts_UA < self._config["per_band"]
        counted_U = (~few_UA | (self._seen_UA <= self._stored.band_counts_UA)).all(1)
        checks.append(self._check("bands", counted_U & self._in_band(), "no token more", found))
        return [*checks, self._check("shortages", self._explained(), "equal", "by the counts beside them")]

    def _check(self, what: str, holds_U: Mask, tolerance: str, found: str) -> Check:
        wrong = self._stored.index_U[~holds_U][:3].tolist()
        found += f"; not {', '.join(map(str, wrong))}" if wrong else ""
        return Check(f"{self._name}: {what}", int(holds_U.sum()), len(holds_U), tolerance, found)

    def _activations(self, x_ND: Tensor) -> tuple[Ints, Ints, Floats]:
        """Places in the sample, rows of the block and activations of all active pairs, sorted by place, then row."""
        sae, place_F = self._sae, self._place_F
        if sae.header.nonlinearity != "topk":
            index_U = torch.from_numpy(self._stored.index_U).to(sae.device)
            sae, place_F = sae.among(index_U, torch.zeros(len(index_U), device=sae.device)), np.arange(len(index_U))
        tiles = [[column.cpu().numpy() for column in tile] for tile in sae.encode_by_feature(x_ND)]
        n_K, feature_K, value_K = (np.concatenate(columns) for columns in zip(*tiles, strict=True))
        mine_K = place_F[feature_K] >= 0
        return place_F[feature_K[mine_K]], n_K[mine_K], value_K[mine_K]

    def _compare_stored(self, token_N: Ints, key_K: Ints, value_K: Floats, unit_K: npt.NDArray[Any]) -> Mask:
        """Which pairs are stored as bottom examples [K]; measures the noise on all that are stored but contrast."""
        here = np.flatnonzero(contains(token_N, self._stored.token_M) & (self._stored.kind_M != CONTRAST))
        row = np.searchsorted(token_N, self._stored.token_M[here])
        key = self._stored.place_M[here] * len(token_N) + row
        again = contains(key_K, key)
        at = np.searchsorted(key_K, key[again])
        deviation = np.abs(self._stored.activation_M[here][again] - value_K[at]) / unit_K[at]
        self._noise = max(self._noise, float(deviation.max(initial=0)))
        return contains(np.sort(key[self._stored.kind_M[here] == BOTTOM]), key_K)

    def _contexts_of(self, stored: Stored, kind: int) -> Ints:
        """Feature and context of the examples that stand for several places, as one number each, sorted."""
        mine = np.flatnonzero((stored.kind_M == kind) & (stored.repeats_M > 0))
        return np.sort(_pair(stored.place_M[mine], self._contexts_at(stored.token_M[mine])))

    def _contexts_at(self, token_M: Ints) -> Ints:
        """Of tokens, named by document row and position (packed)."""
        found = [self._contexts(token >> 32)[token & 0xFFFFFFFF] for token in token_M.tolist()]
        return np.array(found, np.int64)

    def _are_copies(self, place_K: Ints, token_K: Ints, among_K: Mask) -> Mask:
        """Which of some pairs stand in the same context as a bottom example of their feature [K]."""
        found_K = np.zeros(len(place_K), bool)
        maybe = self._with_copies(BOTTOM, place_K, among_K)
        found_K[maybe] = contains(self._copied[BOTTOM], _pair(place_K[maybe], self._contexts_at(token_K[maybe])))
        return found_K

    def _hold_copies(self, place_K: Ints, document_K: Ints, among_K: Mask) -> Mask:
        """Which of some pairs are in a document with a copy of a top example of their feature, which may be higher."""
        found_K = np.zeros(len(place_K), bool)
        for k in self._with_copies(TOP, place_K, among_K).tolist():
            context_L = self._contexts(int(document_K[k]))
            found_K[k] = contains(self._copied[TOP], _pair(np.full_like(context_L, place_K[k]), context_L)).any()
        return found_K

    def _with_copies(self, kind: int, place_K: Ints, among_K: Mask) -> Ints:
        """Numbers of the pairs, of some, whose feature has an example that stands for several places."""
        several_M = (self._stored.repeats_M > 0) & (self._stored.kind_M == kind)
        return np.flatnonzero(among_K & np.isin(place_K, self._stored.place_M[several_M]))

    def _note(self, what: str, place_K: Ints, excess_K: npt.NDArray[Any]) -> None:
        np.maximum.at(self._beats[what], place_K, excess_K)

    def _in_band(self) -> Mask:
        """Whether all interval examples lie in their bands [U]."""
        mine = np.flatnonzero(self._stored.kind_M == INTERVAL)
        place = self._stored.place_M[mine]
        band = bands_of(self._stored.activation_M[mine], self._stored.max_U[place], self._config["bands"])
        holds_U = np.ones(len(self._stored.index_U), bool)
        holds_U[place[band != self._stored.band_M[mine]]] = False
        return holds_U

    def _explained(self) -> Mask:
        """Whether as many examples are stored as the counts say that there are, or fewer and some of several places."""
        stored, config = self._stored, self._config
        mine = np.flatnonzero(stored.kind_M == INTERVAL)
        found_UA = np.zeros_like(stored.band_counts_UA)
        np.add.at(found_UA, (stored.place_M[mine], stored.band_M[mine]), 1)
        copied_UK = np.zeros_like(stored.num_examples_UK, bool)
        several = stored.repeats_M > 0
        copied_UK[stored.place_M[several], stored.kind_M[several]] = True
        wanted_UA = np.minimum(stored.band_counts_UA, config["per_band"])
        holds_U = (found_UA == wanted_UA).all(1) | (copied_UK[:, INTERVAL] & (found_UA <= wanted_UA).all(1))
        found_U = stored.num_examples_UK[:, BOTTOM]
        wanted_U = np.minimum(stored.num_above_floor_U, config["bottom"])
        holds_U &= (found_U == wanted_U) | (copied_UK[:, BOTTOM] & (found_U <= wanted_U))
        holds_U &= (stored.num_examples_UK[:, TOP] == 0) == (stored.num_active_U == 0)
        return cast(Mask, holds_U & (stored.num_examples_UK[:, TOP] <= stored.num_active_U))


def _pair(place_N: Ints, context_N: Ints) -> Ints:
    """One number for each place in the sample and context [N]."""
    mixed_N = splitmix64(place_N.astype(np.uint64)) + context_N.astype(np.uint64)
    return mixed_N.astype(np.int64)
