"""Reads of the nearest features by decoder direction."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backend.published.cards import SAECard, sae_card
from backend.published.catalogue import OpenSAE
from backend.published.features import DETAILS, Feature, FeatureSummary, get_summaries, summary_fields, to_feature


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A feature near another one."""

    cosine: float
    """Of the two decoder directions."""
    feature: FeatureSummary


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest features in one SAE."""

    sae: str
    own: bool
    """Whether it is the feature's own SAE."""
    nearest: list[Neighbour]


@dataclass(frozen=True)
class NeighbourGroup:
    """The nearest features in one SAE."""

    heading: str
    card: SAECard
    neighbours: Neighbours


def neighbour_groups(sae: OpenSAE, found: list[Neighbours]) -> list[NeighbourGroup]:
    """The nearest features as pages show them, SAE by SAE."""
    cards = {other.name: sae_card(other) for other in sae.run.saes}
    return [NeighbourGroup("In this SAE" if n.own else f"In {n.sae}", cards[n.sae], n) for n in found]


def get_neighbours(
    sae: OpenSAE, index: int, k: int, only: str | None = None, *, minor: bool = False
) -> list[Neighbours]:
    """The `k` nearest features in each SAE of the run, or in one: its own first, the others in their order."""
    places = nearest_rows(sae, index, k, minor=minor)
    chosen = {name: nearest for name, nearest in places.items() if only in (None, name)}
    return _neighbours(sae, chosen, get_summaries(sae.run, [row for rows in chosen.values() for row, _ in rows]))


def get_surroundings(sae: OpenSAE, index: int, k: int, *, minor: bool = False) -> tuple[Feature, list[Neighbours]]:
    """A feature and its neighbours, with one read less than each on its own."""
    places = nearest_rows(sae, index, k, minor=minor)
    rows = [sae.row(index), *(row for rows in places.values() for row, _ in rows)]
    records = sae.run.tables.take("features", rows, DETAILS).to_pylist()
    summaries = [FeatureSummary(**summary_fields(sae.run, record)) for record in records[1:]]
    return to_feature(sae.run, records[0]), _neighbours(sae, places, summaries)


def nearest_rows(
    sae: OpenSAE, index: int, k: int | None = None, *, minor: bool = False
) -> dict[str, list[tuple[int, float]]]:
    """Row and cosine of the `k` nearest, or of all that are published, in each SAE by name, its own first.

    They are live features; with `minor` rare and negligible ones too, of which fewer are published: the list then ends
    where it is no longer sure to hold all.
    """
    tables, size = sae.run.tables, len(sae.run.saes)
    kinds = [tables.neighbours(sae.row(index), size, minor=kind) for kind in ((False, True) if minor else (False,))]
    found = {}
    for other in sorted(sae.run.saes, key=lambda other: other.name != sae.name):
        position = other.record.position
        lists = [_pairs(other, indices_SK[position], cosines_SK[position]) for indices_SK, cosines_SK in kinds]
        found[other.name] = (_merged(*lists) if minor else lists[0].pairs)[:k]
    return found


class _Published(NamedTuple):
    """The published neighbours of a feature in one SAE."""

    pairs: list[tuple[int, float]]
    """Row and cosine, the nearest first."""
    end: float
    """Cosine below which there may be others; -1 when all are there."""


def _pairs(other: OpenSAE, indices_K: npt.NDArray[np.int32], cosines_K: npt.NDArray[np.float32]) -> _Published:
    pairs = [(other.row(i), c) for i, c in zip(indices_K.tolist(), cosines_K.tolist(), strict=True) if i >= 0]
    return _Published(pairs, pairs[-1][1] if len(pairs) == len(indices_K) else -1.0)


def _merged(live: _Published, minor: _Published) -> list[tuple[int, float]]:
    """Both lists as one, the nearest first, as far down as both reach."""
    end = max(live.end, minor.end)
    return sorted(
        (pair for pair in [*live.pairs, *minor.pairs] if pair[1] >= end), key=lambda pair: (-pair[1], pair[0])
    )


def _neighbours(
    sae: OpenSAE, places: dict[str, list[tuple[int, float]]], features: list[FeatureSummary]
) -> list[Neighbours]:
    """Groups of the neighbours at `places`, whose `features` come in the same order."""
    following = iter(features)
    return [
        Neighbours(name, name == sae.name, [Neighbour(cosine, next(following)) for _, cosine in rows])
        for name, rows in places.items()
    ]
