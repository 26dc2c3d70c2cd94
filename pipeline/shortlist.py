"""Shortlists: of everything that streams past, the few first of every group, in memory that does not grow.

A shortlist holds the `size` entries with the lowest keys of each group. Keys are 32-bit numbers, so that a group and a
key make one sortable number; equal keys are ordered by token, earlier in the corpus first. Entries are gathered and
merged rarely; in between, the last key of every full group (`admits`) turns away almost everything else.

Shapes: N entries, G groups.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

PENDING = 1 << 20
"""Entries gathered before they are merged, at least."""
ANY_KEY = np.uint32(0xFFFFFFFF)


class Entries(NamedTuple):
    """Entries of a shortlist, all [N]."""

    group_N: Ints
    key_N: Keys
    token_N: Ints
    """See pack_tokens."""
    value_N: Floats

    def take(self, which: Ints | Mask) -> "Entries":
        return Entries._make(column[which] for column in self)


def pack_tokens(sequence_N: npt.NDArray[Any], position_N: npt.NDArray[Any]) -> Ints:
    """One number for each token, ascending in corpus order: by sequence number, then position in the document."""
    return (sequence_N.astype(np.int64) << 32) | position_N.astype(np.int64)


def unpack_tokens(token_N: Ints) -> tuple[Ints, Ints]:
    """Sequence numbers and positions [N]."""
    return token_N >> 32, token_N & 0xFFFFFFFF


def ascending_keys(value_N: Floats) -> Keys:
    """Keys that order as the values do, lowest first."""
    bits_N = np.ascontiguousarray(value_N + np.float32(0)).view(np.uint32)  # -0 and 0 are one value
    return np.where(bits_N >> 31 == 1, ~bits_N, bits_N | np.uint32(0x80000000))


def descending_keys(value_N: Floats) -> Keys:
    """Keys that order the values highest first."""
    return ~ascending_keys(value_N)


def hash_tokens(token_N: Ints) -> npt.NDArray[np.uint64]:
    """64 mixed bits for each token (splitmix64, Steele et al. 2014)."""
    mixed_N = token_N.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed_N = (mixed_N ^ (mixed_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed_N = (mixed_N ^ (mixed_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return cast(npt.NDArray[np.uint64], mixed_N ^ (mixed_N >> np.uint64(31)))


def hash_keys(hash_N: npt.NDArray[np.uint64], feature_N: Ints) -> Keys:
    """A key for each pair of a token (by its hash) and a feature: lowest first is a uniform sample of the tokens."""
    mixed_N = (hash_N ^ feature_N.astype(np.uint64)) * np.uint64(0xFF51AFD7ED558CCD)
    mixed_N ^= mixed_N >> np.uint64(33)
    return ((mixed_N * np.uint64(0xC4CEB9FE1A85EC53)) >> np.uint64(32)).astype(np.uint32)


def sort_order(*columns: Ints) -> Ints:
    """The order that sorts by the first column, then the next, then the place [N]; columns are not negative."""
    order_N = torch.arange(len(columns[0]))
    for column_N in reversed(columns):
        # torch sorts integers by radix on all cores, ten times as fast as numpy.lexsort
        order_N = order_N[torch.sort(torch.from_numpy(np.ascontiguousarray(column_N))[order_N], stable=True).indices]
    return order_N.numpy()


def ranks(group_N: Ints) -> Ints:
    """The place of each entry in its group, from 0, for entries sorted by group [N]."""
    if len(group_N) == 0:
        return np.zeros(0, np.int64)
    starts_N = np.flatnonzero(np.concatenate([[True], group_N[1:] != group_N[:-1]]))
    lengths_N = np.diff(np.append(starts_N, len(group_N)))
    places_N: Ints = np.arange(len(group_N)) - np.repeat(starts_N, lengths_N)
    return places_N


def ranges(start_N: Ints, count_N: Ints) -> Ints:
    """start, start + 1, ... of `count` numbers each, one range after the other."""
    ends_N = np.cumsum(count_N)
    total = int(ends_N[-1]) if len(ends_N) else 0
    numbers: Ints = np.arange(total) + np.repeat(start_N - (ends_N - count_N), count_N)
    return numbers


def first_of_each(entries: Entries, size: int) -> Entries:
    """Entries sorted by group, key and token, the `size` first of each group."""
    entries = entries.take(sort_order((entries.group_N << 32) | entries.key_N, entries.token_N))
    return entries.take(ranks(entries.group_N) < size)


class Shortlist:
    """The `size` first entries of every group.

    regroup: changes groups before a merge, when they depend on what has been seen.
    owner: of the entries of a group with the same owner only the first counts (the document of a token, say).
    Memory: at most G * size entries of 24 bytes, twice that (PENDING at least) of pending ones, and 4 bytes a group.
    """

    def __init__(
        self,
        num_groups: int,
        size: int,
        *,
        regroup: Callable[[Ints], Ints] | None = None,
        owner: Callable[[Ints], Ints] | None = None,
        pending: int | None = None,
    ) -> None:
        self.size = size
        self._regroup, self._owner = regroup, owner
        self._last_key_G = np.full(num_groups, ANY_KEY)
        self._kept = Entries(
            np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.int64), np.zeros(0, np.float32)
        )
        self._pending: list[Entries] = []
        self._num_pending = 0
        self._most_pending = PENDING if pending is None else pending

    def admits(self, group_N: Ints, key_N: Keys) -> Mask:
        """Whether an entry may still be among the first of its group [N]."""
        return key_N <= self._last_key_G[group_N]

    def add(self, entries: Entries) -> None:
        """Take in entries that `admits` lets pass."""
        self._pending.append(entries)
        self._num_pending += len(entries.group_N)
        if self._num_pending >= max(self._most_pending, len(self._kept.group_N) // 2):
            self.merge()

    def merge(self) -> None:
        """Settle what is pending."""
        if not self._num_pending:
            return
        entries = Entries(*(np.concatenate(column) for column in zip(self._kept, *self._pending, strict=True)))
        self._pending, self._num_pending = [], 0
        if self._regroup is not None:
            entries = entries._replace(group_N=self._regroup(entries.group_N))
        if self._owner is not None:
            entries = entries.take(self._first_of_owner(entries))
        self._kept = first_of_each(entries, self.size)
        full_N = ranks(self._kept.group_N) == self.size - 1
        self._last_key_G[self._kept.group_N[full_N]] = self._kept.key_N[full_N]

    def result(self) -> Entries:
        """All that is kept, sorted by group, key and token."""
        self.merge()
        return self._kept

    def _first_of_owner(self, entries: Entries) -> Ints:
        assert self._owner is not None
        owner_N = self._owner(entries.token_N)
        order_N = sort_order((entries.group_N << 32) | owner_N, entries.key_N.astype(np.int64), entries.token_N)
        group_N, owner_N = entries.group_N[order_N], owner_N[order_N]
        new_N = (group_N[1:] != group_N[:-1]) | (owner_N[1:] != owner_N[:-1])
        return cast(Ints, order_N[np.concatenate([[True], new_N])])
