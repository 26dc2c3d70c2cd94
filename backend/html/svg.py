"""Histograms and small maps as SVG. Made here and not in templates, because a page has dozens of bars and points."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from backend.html.figures import Bar, Bars

WIDTH, HEIGHT, TOP, GAP = 400, 110, 6, 1.5
"""Of a histogram, in the units of its viewBox."""
NUM_COLOURS = 6
"""Of SAEs, see base/monosema.css."""


def bars_html(bars: Bars) -> Markup:
    """The bars of a histogram, each with a wide target that tells its value."""
    return Markup("".join(map(_bar, bars.bars)))


def _bar(bar: Bar) -> str:
    name = ("plain" if bar.level is None else f"h{bar.level}") + " open" * bar.open
    tag, close = (f'a href="{escape(bar.href)}"', "a") if bar.href else ("g", "g")
    left, width, height = WIDTH * bar.x, WIDTH * bar.width, (HEIGHT - TOP) * bar.height
    return (
        f"<{tag}><title>{escape(bar.title)}</title>"
        f'<rect class="bars-hit" x="{left:.2f}" width="{width:.2f}" y="0" height="{HEIGHT}"/>'
        f'<rect class="{name}" x="{left + GAP / 2:.2f}" width="{max(width - GAP, 0.1):.2f}" '
        f'y="{HEIGHT - height:.2f}" height="{height:.2f}"/></{close}>'
    )


@dataclass(frozen=True)
class MapDot:
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
    centre: MapDot
    """The feature whose page it is."""
    others: list[MapDot]


def map_html(drawing: SmallMap) -> Markup:
    """The features of a small map, each a link, the one that it is about last and ringed."""
    links = [
        f'<a href="{escape(dot.href)}" tabindex="-1"><title>{escape(dot.title)}</title>{_circle(dot, 4.5)}</a>'
        for dot in drawing.others
    ]
    here = drawing.centre
    ring = f'<circle class="dot-ring" cx="{here.x}" cy="{here.y}" r="8.5"/>'
    centre = f"<g><title>{escape(here.title)} (this feature)</title>{ring}{_circle(here, 5)}</g>"
    return Markup("".join([*links, centre]))


def _circle(dot: MapDot, radius: float) -> str:
    return f'<circle class="dot s{dot.series % NUM_COLOURS}" cx="{dot.x}" cy="{dot.y}" r="{radius}"/>'


MAP_WIDTH, MAP_HEIGHT, MAP_MARGIN = 320, 190, 14
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


def small_map(centre: Place, others: Sequence[Place]) -> SmallMap:
    """All places in one drawing, both axes on the same scale, y upwards as on the large map."""
    places = [centre, *others]
    xs, ys = [place.x for place in places], [place.y for place in places]
    span = (
        max((max(xs) - min(xs)) / (MAP_WIDTH - 2 * MAP_MARGIN), (max(ys) - min(ys)) / (MAP_HEIGHT - 2 * MAP_MARGIN))
        or 1.0
    )
    middle_x, middle_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    dots = [
        MapDot(
            round(MAP_WIDTH / 2 + (place.x - middle_x) / span, 1),
            round(MAP_HEIGHT / 2 - (place.y - middle_y) / span, 1),
            place.series,
            place.title,
            place.href,
        )
        for place in places
    ]
    return SmallMap(MAP_WIDTH, MAP_HEIGHT, dots[0], dots[1:])
