"""Names of places on the map, as pages and programs get them."""

from dataclasses import dataclass

from backend.published.catalogue import OpenRun
from data.published.maps import View
from data.published.regions import Region

MAX_NAMES = 300
"""Names of a view."""
PAGE_SIDE = 640.0
"""Pixels of the world's side that the page takes it to have where it shows all, until a script measures it."""
ROOM = 80.0
"""Half the side of the rectangle that a name's link shows, in pixels at the size at which the name appears."""


@dataclass(frozen=True)
class NamedPlace:
    """A place on the map, named by words that features there have in common and others have not."""

    name: str
    x: float
    """Of its middle."""
    y: float
    side: float
    """The name has room where the side of the whole map is so many pixels or more on the screen."""
    num_features: int
    """Features there that have its first word."""
    view: str
    """x0,x1,y0,y1 of a rectangle around it, as the explorer's address takes it."""


def named_places(run: OpenRun, view: View, side: float, limit: int = MAX_NAMES) -> list[NamedPlace]:
    """The names in a view of a map whose side is so many pixels, those of the largest places first."""
    return [_place(run, region) for region in run.regions.within(view, side, limit)]


def _place(run: OpenRun, region: Region) -> NamedPlace:
    half = run.map.world.size * ROOM / region.side
    view = (region.x - half, region.x + half, region.y - half, region.y + half)
    return NamedPlace(**region._asdict(), view=",".join(f"{edge:.4f}" for edge in view))


def read_view(run: OpenRun, text: str) -> View:
    """The rectangle of an address, or the whole map where it names none."""
    try:
        view = View(*(float(part) for part in text.split(",")))
    except (TypeError, ValueError):
        return run.map.world.view
    return view if view.x0 < view.x1 and view.y0 < view.y1 else run.map.world.view


def side_at(run: OpenRun, view: View) -> float:
    """Pixels of the whole map's side where a view fills the page's map."""
    return PAGE_SIDE * run.map.world.size / max(view.x1 - view.x0, view.y1 - view.y0)
