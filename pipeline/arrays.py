"""Arrays that several stages sort, pack and number in the same way."""

from typing import Any, cast

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""The step of splitmix64: 2^64 over the golden ratio."""
MANY = 1 << 17
"""Numbers from which on torch sorts them."""


def pack_tokens(sequence_N: npt.NDArray[Any], position_N: npt.NDArray[Any]) -> Ints:
    """One number for each token, ascending in corpus order: by sequence (or document) number, then position there."""
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


def hash_tokens(token_N: Ints) -> Hashes:
    """64 mixed bits for each token."""
    return splitmix64(token_N.astype(np.uint64))


def splitmix64(value_N: Hashes) -> Hashes:
    """64 mixed bits for each number (Steele et al. 2014)."""
    mixed_N = value_N + GOLDEN
    mixed_N = (mixed_N ^ (mixed_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed_N = (mixed_N ^ (mixed_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return cast(Hashes, mixed_N ^ (mixed_N >> np.uint64(31)))


def hash_keys(hash_N: Hashes, feature_N: Ints) -> Keys:
    """A key for each pair of a token (by its hash) and a feature: lowest first is a uniform sample of the tokens."""
    mixed_N = (hash_N ^ feature_N.astype(np.uint64)) * np.uint64(0xFF51AFD7ED558CCD)
    mixed_N ^= mixed_N >> np.uint64(33)
    return ((mixed_N * np.uint64(0xC4CEB9FE1A85EC53)) >> np.uint64(32)).astype(np.uint32)


def sort_order(*columns: Ints) -> Ints:
    """The order that sorts by the first column, then the next, then the place [N]; columns are not negative."""
    if len(columns[0]) < MANY:
        return np.lexsort(columns[::-1])
    import torch  # here, for processes that sort little start without it

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


def contains(sorted_M: Ints, wanted_N: Ints) -> Mask:
    """Whether each wanted number is among the sorted ones [N]."""
    if len(sorted_M) == 0:
        return np.zeros(len(wanted_N), bool)
    return cast(Mask, sorted_M[np.minimum(np.searchsorted(sorted_M, wanted_N), len(sorted_M) - 1)] == wanted_N)


def first_of_pairs(one_N: Ints, other_N: Ints) -> Ints:
    """Places, ascending, of the first entry with each pair of numbers, which are not negative [K]."""
    order = sort_order(one_N, other_N)
    again_N = (np.diff(one_N[order], prepend=-1) == 0) & (np.diff(other_N[order], prepend=-1) == 0)
    return cast(Ints, np.sort(order[~again_N]))


def ranges(start_N: Ints, count_N: Ints) -> Ints:
    """start, start + 1, ... of `count` numbers each, one range after the other."""
    ends_N = np.cumsum(count_N)
    total = int(ends_N[-1]) if len(ends_N) else 0
    numbers: Ints = np.arange(total) + np.repeat(start_N - (ends_N - count_N), count_N)
    return numbers
