"""Reads of the nearest features by decoder direction."""

from dataclasses import dataclass

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


def get_neighbours(sae: OpenSAE, index: int, k: int, only: str | None = None) -> list[Neighbours]:
    """The `k` nearest features in each SAE of the run, or in one: its own first, the others in their order."""
    places = nearest_rows(sae, index, k)
    chosen = {name: nearest for name, nearest in places.items() if only in (None, name)}
    return _neighbours(sae, chosen, get_summaries(sae.run, [row for rows in chosen.values() for row, _ in rows]))


def get_surroundings(sae: OpenSAE, index: int, k: int) -> tuple[Feature, list[Neighbours]]:
    """A feature and its neighbours, with one read less than each on its own."""
    places = nearest_rows(sae, index, k)
    rows = [sae.row(index), *(row for rows in places.values() for row, _ in rows)]
    records = sae.run.tables.take("features", rows, DETAILS).to_pylist()
    summaries = [FeatureSummary(**summary_fields(sae.run, record)) for record in records[1:]]
    return to_feature(sae.run, records[0]), _neighbours(sae, places, summaries)


def nearest_rows(sae: OpenSAE, index: int, k: int | None = None) -> dict[str, list[tuple[int, float]]]:
    """Row and cosine of the `k` nearest, or of all that are published, in each SAE by name, its own first."""
    indices_SK, cosines_SK = sae.run.tables.neighbours(sae.row(index), len(sae.run.saes))
    found = {}
    for other in sorted(sae.run.saes, key=lambda other: other.name != sae.name):
        near_K, cosine_K = indices_SK[other.record.position, :k], cosines_SK[other.record.position, :k]
        pairs = zip(near_K.tolist(), cosine_K.tolist(), strict=True)
        found[other.name] = [(other.row(near), cosine) for near, cosine in pairs if near >= 0]
    return found


def _neighbours(
    sae: OpenSAE, places: dict[str, list[tuple[int, float]]], features: list[FeatureSummary]
) -> list[Neighbours]:
    """Groups of the neighbours at `places`, whose `features` come in the same order."""
    following = iter(features)
    return [
        Neighbours(name, name == sae.name, [Neighbour(cosine, next(following)) for _, cosine in rows])
        for name, rows in places.items()
    ]
