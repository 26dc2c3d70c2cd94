"""The nearest features of one, as its page lists them and as a small map."""

from dataclasses import dataclass

from backend.features.links import FeatureState
from backend.html.svg import Place, SmallMap, small_map
from backend.html.tokens import visible_text
from backend.published.catalogue import OpenSAE
from backend.published.features import Feature, unlabelled_title
from backend.published.neighbours import nearest_rows

NEAREST_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Near:
    """A feature near the one of the page."""

    cosine: str
    """Of the two decoder directions, as shown."""
    index: int
    title: str
    href: str
    x: float | None
    """On the map; None when it is not on it."""
    y: float | None


@dataclass(frozen=True)
class NearGroup:
    """The nearest features in one SAE."""

    heading: str
    series: int
    nearest: list[Near]


@dataclass(frozen=True)
class NearSection:
    """All of them, and their places on the map."""

    groups: list[NearGroup]
    map: SmallMap | None
    """None when the feature is not on the map."""
    minor: bool
    """Whether rare and negligible ones are listed too."""
    switch: str
    """The address at which they are, or no longer are."""


def near_section(sae: OpenSAE, feature: Feature, view: FeatureState) -> NearSection:
    """The nearest features as an address asks for them."""
    groups = near_groups(sae, feature.index, minor=view.minor)
    switch = feature.href + view.query(minor=not view.minor) + "#near"
    return NearSection(groups, neighbourhood(sae, feature, groups), view.minor, switch)


def near_groups(sae: OpenSAE, index: int, *, minor: bool = False) -> list[NearGroup]:
    """The nearest features in each SAE, its own first: two reads."""
    places = nearest_rows(sae, index, NEAREST_SHOWN, minor=minor)
    rows = [row for pairs in places.values() for row, _ in pairs]
    columns = sae.run.tables.take("features", rows, ["label", "top_words", "num_active", "x", "y"]).to_pydict()
    records = iter(zip(*columns.values(), strict=True))
    found = []
    for other in sorted(sae.run.saes, key=lambda other: other.name != sae.name):
        nearest = []
        for row, cosine in places[other.name]:
            label, words, num_active, x, y = next(records)
            at = row - other.row(0)
            named = sae.run.corrections.of(other.name, at).label or visible_text(label)
            title = named or unlabelled_title(at, words, dead=num_active == 0)
            nearest.append(Near(f"{cosine:.2f}".replace("-", "−"), at, title, f"{other.href}/{at}", x, y))
        heading = "In this SAE" if other is sae else f"In {other.name}"
        found.append(NearGroup(heading, other.record.position, nearest))
    return found


def neighbourhood(sae: OpenSAE, feature: Feature, near: list[NearGroup]) -> SmallMap | None:
    """The feature and its nearest on the map; None when it is not on it."""
    if feature.x is None or feature.y is None:
        return None
    here = Place(feature.x, feature.y, sae.record.position, feature.title, feature.href)
    others = [
        Place(other.x, other.y, group.series, other.title, other.href)
        for group in near
        for other in group.nearest
        if other.x is not None and other.y is not None
    ]
    return small_map(here, others)
