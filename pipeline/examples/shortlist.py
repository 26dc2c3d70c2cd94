"""Shortlists: of everything that streams past, the few first of every group, in memory that does not grow.

A shortlist holds the `size` entries with the lowest keys of each group. Keys are 32-bit numbers, so that a group and a
key make one sortable number; equal keys are ordered by token, earlier in the corpus first. Entries are gathered and
merged rarely; in between, the last key of every full group (`admits`) turns away almost everything else.

Of the entries of a group that stand in the same context only the first counts. That alone is exact. Where an owner has
one entry, too, an entry can lose its place to another of its owner that comes later, after others were dropped for it;
so some more contexts are kept meanwhile, and up to SPARE_COPIES copies of each. It is exact where the entries of an
owner come together; else unless a group comes out short (`lacking`), or a context has more copies than these.

Shapes: N entries, G groups.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import numpy as np

from pipeline.arrays import Floats, Ints, Keys, Mask, ranks, sort_order, splitmix64

PENDING = 1 << 20
"""Entries gathered before they are merged, at least."""
SPARE_SIZE, SPARE_COPIES = 8, 64
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


def first_distinct(
    entries: Entries, size: int, context: Callable[[Ints], Ints] | None, copies: int = 1
) -> tuple[Entries, Mask]:
    """Entries sorted by group, key and token: those in the `size` first contexts of each group, up to `copies` of each.

    context: numbers of the contexts of tokens; None takes all for different. The mask is of the first ones of each.
    """
    kept = first_of_each(entries, size)
    if context is None or not (copy_N := _copy_numbers(kept, context)).any():
        return kept, np.ones(len(kept.group_N), bool)
    crowded = np.unique(kept.group_N[copy_N > 0])
    rest = kept.take(~np.isin(kept.group_N, crowded))
    crowd = entries.take(np.isin(entries.group_N, crowded))
    crowd = first_of_each(crowd, len(crowd.group_N))
    copy_N = _copy_numbers(crowd, context)
    in_first_N = (counts_so_far(crowd.group_N, copy_N == 0) <= size) & (copy_N < copies)
    crowd, is_first_N = crowd.take(in_first_N), (copy_N == 0)[in_first_N]
    columns: Iterable[tuple[np.ndarray, np.ndarray]] = zip(rest, crowd, strict=True)
    joined = Entries._make(np.concatenate(pair) for pair in columns)
    order = sort_order(joined.group_N)
    return joined.take(order), np.concatenate([np.ones(len(rest.group_N), bool), is_first_N])[order]


def _copy_numbers(entries: Entries, context: Callable[[Ints], Ints]) -> Ints:
    """The number of entries before each that have its group and context [N]."""
    hash_N = splitmix64(entries.group_N.astype(np.uint64)) + context(entries.token_N).astype(np.uint64)
    mixed_N = (hash_N >> np.uint64(1)).astype(np.int64)
    order, copy_N = sort_order(mixed_N), np.empty(len(mixed_N), np.int64)
    copy_N[order] = ranks(mixed_N[order])
    return copy_N


def counts_so_far(group_N: Ints, mask_N: Mask) -> Ints:
    """Entries of a mask in the group of each entry up to it, itself included; entries are sorted by group [N]."""
    total_N = np.cumsum(mask_N)
    first_N = np.arange(len(group_N)) - ranks(group_N)
    return cast(Ints, total_N - (total_N - mask_N)[first_N])


class Shortlist:
    """The `size` first entries of every group.

    regroup: changes groups before a merge, when they depend on what has been seen.
    owner: of the entries of a group with the same owner only the first counts (the document of a token, say).
    context: of those that remain, only the first of each context counts; with an owner, too, `spare` more are kept.
    Memory: at most G * size entries of 24 bytes, twice that (PENDING at least) of pending ones, and 4 bytes a group;
    with an owner and a context SPARE_COPIES times as many where all are copies.
    """

    def __init__(
        self,
        num_groups: int,
        size: int,
        *,
        regroup: Callable[[Ints], Ints] | None = None,
        owner: Callable[[Ints], Ints] | None = None,
        context: Callable[[Ints], Ints] | None = None,
        spare: int = SPARE_SIZE,
        pending: int | None = None,
    ) -> None:
        self.size = size
        self._regroup, self._owner, self._context = regroup, owner, context
        both = owner is not None and context is not None
        self._held, self._copies = (size + spare, SPARE_COPIES) if both else (size, 1)
        """Contexts of each group, and entries of each context, that are kept until the end."""
        self._was_full_G = np.zeros(num_groups if both else 0, bool)
        self._is_first_N = np.zeros(0, bool)
        """Which of those that are kept are the first of their contexts."""
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
        self._kept, self._is_first_N = first_distinct(entries, self._held, self._context, self._copies)
        full_N = self._is_first_N & (counts_so_far(self._kept.group_N, self._is_first_N) == self._held)
        if self._copies > 1:  # a group may have lost contexts that its owners have moved away from
            self._last_key_G.fill(ANY_KEY)
            self._was_full_G[self._kept.group_N[full_N]] = True
        self._last_key_G[self._kept.group_N[full_N]] = self._kept.key_N[full_N]

    def result(self) -> Entries:
        """The first entries of every group, sorted by group, key and token."""
        self.merge()
        first = self._kept.take(self._is_first_N)
        return first.take(ranks(first.group_N) < self.size)

    def lacking(self) -> Ints:
        """Groups that have fewer entries than they could have: some were turned away before others were lost."""
        self.merge()
        count_G = np.bincount(self._kept.group_N[self._is_first_N], minlength=len(self._last_key_G))
        return np.flatnonzero(self._was_full_G & (count_G < self.size)) if self._copies > 1 else np.zeros(0, np.int64)

    def _first_of_owner(self, entries: Entries) -> Ints:
        assert self._owner is not None
        owner_N = self._owner(entries.token_N)
        order_N = sort_order((entries.group_N << 32) | owner_N, entries.key_N.astype(np.int64), entries.token_N)
        group_N, owner_N = entries.group_N[order_N], owner_N[order_N]
        new_N = (group_N[1:] != group_N[:-1]) | (owner_N[1:] != owner_N[:-1])
        return cast(Ints, order_N[np.concatenate([[True], new_N])])
