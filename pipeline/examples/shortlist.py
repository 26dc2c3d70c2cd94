"""Shortlists: of everything that streams past, the few first of every group, in memory that does not grow.

A shortlist holds the `size` entries with the lowest keys of each group. Keys are 32-bit numbers, so that a group and a
key make one sortable number; equal keys are ordered by token, earlier in the corpus first. Entries are gathered and
merged rarely; in between, the last key of every full group (`admits`) turns away almost everything else.

Shapes: N entries, G groups.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np

from pipeline.arrays import Floats, Ints, Keys, Mask, ranks, sort_order

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
