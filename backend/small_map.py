"""A small map around one feature, as an SVG that the server draws: where UMAP put it and its nearest features."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, MARGIN = 320, 190, 14
"""Of the drawing, in its own units."""


@dataclass(frozen=True)
class Place:
    """A feature to draw."""

    x: float
    y: float
    """On the map of the run."""
    series: int
    """Colour: the place of its SAE in the run."""
    title: str
    href: str


@dataclass(frozen=True)
class Dot:
    """A feature as drawn."""

    x: float
    y: float
    series: int
    title: str
    href: str


@dataclass(frozen=True)
class SmallMap:
    """The drawing."""

    width: int
    height: int
    centre: Dot
    """The feature whose page it is."""
    others: list[Dot]


def small_map(centre: Place, others: Sequence[Place]) -> SmallMap:
    """All places in one drawing, both axes on the same scale, y upwards as on the large map."""
    places = [centre, *others]
    xs, ys = [place.x for place in places], [place.y for place in places]
    span = max((max(xs) - min(xs)) / (WIDTH - 2 * MARGIN), (max(ys) - min(ys)) / (HEIGHT - 2 * MARGIN)) or 1.0
    middle_x, middle_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    dots = [
        Dot(
            round(WIDTH / 2 + (place.x - middle_x) / span, 1),
            round(HEIGHT / 2 - (place.y - middle_y) / span, 1),
            place.series,
            place.title,
            place.href,
        )
        for place in places
    ]
    return SmallMap(WIDTH, HEIGHT, dots[0], dots[1:])
