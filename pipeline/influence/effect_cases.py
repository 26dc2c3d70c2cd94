"""Features whose effects are measured, and the examples at which they are.

Of every live feature up to `examples` of its top examples: of those that are at least half as strong as its strongest,
the ones with the fewest tokens before them in their sequence, at most `context`. What precedes an example is what
measuring it costs. A feature that has none so near to the start is measured at the nearest. Of the few that are asked
for first the strongest examples are measured, wherever they stand.

Shapes: F features of one SAE, M examples or cases, S sequences.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.features import TOP, read_kinds
from pipeline.arrays import Ints, Mask, pack_tokens, ranks, sort_order
from pipeline.recipe.influence import EffectsConfig

LEAST_SHARE = 0.5
"""Of the feature's highest activation, that an example must have."""


class Cases(NamedTuple):
    """Features at tokens, sorted by SAE, feature and rank; all [M]."""

    sae_M: Ints
    """Number of the SAE in the recipe."""
    index_M: Ints
    """Of the feature in its SAE."""
    rank_M: Ints
    """Of the example among its feature's top ones."""
    sequence_M: Ints
    """Number of the sequence."""
    position_M: Ints
    """In the sequence as the model reads it: 0 is the opening token."""
    activation_M: npt.NDArray[np.float32]

    @property
    def feature_M(self) -> Ints:
        """A number for each case's feature, ascending without gaps from 0."""
        changed_M = (np.diff(self.sae_M, prepend=-1) != 0) | (np.diff(self.index_M, prepend=-1) != 0)
        return np.cumsum(changed_M) - 1

    def some(self, rows: npt.NDArray[np.generic] | slice) -> "Cases":
        """Some of the cases."""
        return Cases._make(column[rows] for column in self)


class Choice(NamedTuple):
    """Features of one SAE."""

    live_F: Mask
    chosen_F: Mask
    """Those that are measured."""
    first_F: Mask
    """Those of them that were asked for first: at their strongest examples, whatever precedes these."""


def choose_features(
    statistics: Sequence[pa.Table], first: Sequence[Iterable[int]], rare_tokens: int, most: int
) -> list[Choice]:
    """Features of every SAE to measure: those of `first` that are live, and of the rest, up to `most` together, the
    same share of each SAE, its most active.

    first: indices of features of every SAE, in any order; they come before all others, and count.
    """
    live = [read_kinds(table, rare_tokens).live_F for table in statistics]
    wanted = [_mask(indices, live_F) for indices, live_F in zip(first, live, strict=True)]
    num_wanted = sum(int(wanted_F.sum()) for wanted_F in wanted)
    num_others = sum(int(live_F.sum()) for live_F in live) - num_wanted
    share = min(1.0, max(most - num_wanted, 0) / max(num_others, 1)) if most else 0.0
    chosen = []
    for table, live_F, wanted_F in zip(statistics, live, wanted, strict=True):
        others_F = _most_active(table["sum_squares"].to_numpy(), live_F & ~wanted_F, share)
        first_F = wanted_F & (most > 0)
        chosen.append(Choice(live_F, first_F | others_F, first_F))
    return chosen


def _mask(indices: Iterable[int], live_F: Mask) -> Mask:
    """The live ones of some features."""
    mask_F = np.zeros_like(live_F)
    mask_F[list(indices)] = True
    return mask_F & live_F


def _most_active(squares_F: npt.NDArray[np.float64], of_F: Mask, share: float) -> Mask:
    """A share of some features of an SAE, those with the largest sums of squared activations."""
    index_N = np.flatnonzero(of_F)
    index_N = index_N[np.argsort(-squares_F[index_N], kind="stable")][: int(share * len(index_N))]
    chosen_F = np.zeros_like(of_F)
    chosen_F[index_N] = True
    return chosen_F


def choose_cases(
    examples: Sequence[pa.Table], choices: Sequence[Choice], sequences: np.ndarray, config: EffectsConfig
) -> Cases:
    """The cases of every chosen feature of every SAE. sequences: of SEQUENCE, in corpus order."""
    starts_S = pack_tokens(sequences["document"], sequences["start"])
    parts = [
        _of_sae(number, *one, starts_S, sequences, config)
        for number, one in enumerate(zip(examples, choices, strict=True))
    ]
    return Cases._make(np.concatenate(column) for column in zip(*parts, strict=True))


def _of_sae(
    sae: int, examples: pa.Table, choice: Choice, starts_S: Ints, sequences: np.ndarray, config: EffectsConfig
) -> Cases:
    index_M, rank_M, activation_M = (examples[name].to_numpy() for name in ("index", "rank", "activation"))
    highest_F = np.zeros(len(choice.chosen_F), np.float32)
    top_M = examples["kind"].to_numpy() == TOP
    highest_F[index_M[top_M & (rank_M == 0)]] = activation_M[top_M & (rank_M == 0)]
    rows = np.flatnonzero(top_M & choice.chosen_F[index_M] & (activation_M >= LEAST_SHARE * highest_F[index_M]))
    document_M, place_M = (examples[name].to_numpy()[rows].astype(np.int64) for name in ("document", "position"))
    sequence_M = np.searchsorted(starts_S, pack_tokens(document_M, place_M), side="right") - 1
    cases = Cases(
        sae_M=np.full(len(rows), sae, np.int64),
        index_M=index_M[rows].astype(np.int64),
        rank_M=rank_M[rows].astype(np.int64),
        sequence_M=sequence_M,
        position_M=place_M - sequences["start"][sequence_M] + 1,
        activation_M=activation_M[rows],
    )
    return cases.some(np.flatnonzero(_fitting(cases, choice.first_F[cases.index_M], config)))


def _fitting(cases: Cases, first_M: Mask, config: EffectsConfig) -> Mask:
    """The examples of one SAE at which features are measured [M]. first_M: of features that come first."""
    nearest_M = _ranks_by(cases.index_M, cases.position_M)
    near_M = (nearest_M < config.examples) & (cases.position_M <= config.context)
    strongest_M = _ranks_by(cases.index_M, cases.rank_M) < config.examples
    return np.where(first_M, strongest_M, near_M | (nearest_M == 0))


def _ranks_by(index_M: Ints, by_M: Ints) -> Ints:
    """Place of each example among its feature's, the lowest of `by_M` first [M]."""
    order = sort_order(index_M, by_M)
    ranks_M = np.empty_like(index_M)
    ranks_M[order] = ranks(index_M[order])
    return ranks_M
