"""The features that are scored: of every autoencoder the same share of labelled ones, leading and random.

Leading are those with which pages begin: the ones whose texts pages show, the others that respond when they are held,
then the most interesting. Half of all are leading, more where more respond. Shapes: F features of one SAE.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Ints, Mask

NOT_RESPONDING = 1 << 30
"""Stands after every rank of features that respond."""
NO_FEATURES: Ints = np.empty(0, np.int64)


class Chosen(NamedTuple):
    """The features of one SAE that are scored."""

    leading: Ints
    """The first to be looked at first."""
    random: Ints
    """Drawn with equal probability from the other labelled live ones."""
    unlabelled: Ints = NO_FEATURES
    """Drawn from the live ones without a label: candidates for labels are tried on them too."""

    @property
    def indices(self) -> Ints:
        """All of them, the leading first, those without a label last."""
        return np.concatenate([self.leading, self.random, self.unlabelled])


def share_of(total: int, num_saes: int, place: int) -> int:
    """How many of `total` fall to one of several SAEs: the same number each, the rest to the first."""
    return total // num_saes + (place < total % num_saes)


def choose_features(
    labelled_F: Mask,
    interest_F: npt.NDArray[np.float64],
    shown: Sequence[int],
    responding: Iterable[int],
    count: int,
    seed: int,
) -> Chosen:
    """Up to `count` features of an SAE. labelled_F: live ones with a label; interest_F: NaN where there is none.

    shown: features whose texts pages show, the first to be looked at first; responding: these and others that respond.
    """
    index_N = np.flatnonzero(labelled_F)
    rank_F = np.full(len(labelled_F), NOT_RESPONDING)
    rank_F[list(responding)] = len(shown)
    for rank, feature in reversed(list(enumerate(shown))):
        rank_F[feature] = rank
    value_N, rank_N = np.nan_to_num(interest_F[index_N], nan=-1.0), rank_F[index_N]
    in_order = index_N[np.lexsort((index_N, -value_N, rank_N))]
    leading = in_order[: min(count, max(-(-count // 2), int((rank_N < NOT_RESPONDING).sum())))]
    others = np.setdiff1d(index_N, leading)
    random = np.random.default_rng(seed).permutation(others)[: count - len(leading)]
    return Chosen(leading, np.sort(random))


def draw_unlabelled(unlabelled_F: Mask, count: int, seed: int) -> Ints:
    """Up to `count` features drawn with equal probability, ascending. unlabelled_F: live ones without a label."""
    drawn = np.random.default_rng([seed, 1]).permutation(np.flatnonzero(unlabelled_F))[:count]
    return np.sort(drawn)
