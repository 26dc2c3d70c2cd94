"""The explorer: the context of its page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from backend.exceptions import NotFoundError
from backend.html.address import Address, query, rooted
from backend.html.page import Page
from backend.map.regions import NamedPlace, named_places, read_view, side_at
from backend.map.selection import Hits, Selected, find_hits, read_polygon, select
from backend.map.views import MAX_POINTS, MapColour, chosen_saes
from backend.published.cards import RunCard, kinds_text, run_card
from backend.published.catalogue import OpenRun
from backend.published.features import FeatureSummary, get_places
from backend.published.neighbours import NeighbourGroup, get_surroundings, neighbour_groups
from backend.published.search import Vector
from backend.published.showpieces import showpieces
from data.published.maps import View

Mark = tuple[int, float, float]
"""Position of an SAE in its run, and x and y on the map."""

NEIGHBOURS_SHOWN = 8
PLACES_LISTED = 24
LISTED = 50
"""Features of a search or a shape that stand beside the map."""


class ExploreState(Address):
    """The state of the explorer, all of it in the address."""

    path = "/explore"

    f: str = Field("", max_length=200)
    """model/sae/index of the feature in focus."""
    q: str = Field("", max_length=200)
    """Words to highlight: in labels, promoted tokens and examples."""
    sel: str = Field("", max_length=4000)
    """Corners x,y,x,y,... of a shape whose features are selected."""
    hide: str = Field("", max_length=2000)
    """Names of SAEs that are not shown, with commas between."""
    view: str = Field("", max_length=200)
    """x0,x1,y0,y1 of the visible rectangle."""
    colour: MapColour = "sae"
    minor: bool = False
    """Whether rare and negligible features are shown too."""
    run: str = Field("", max_length=64)
    """Name of the run; the newest by default."""


@dataclass(frozen=True)
class ExplorePage(Page):
    """map/explore.html: the joint map of a run."""

    run: RunCard
    asked: ExploreState
    num_points: int
    """Features on the map."""
    num_minor: int
    """Rare and negligible ones, which are shown when asked for."""
    kinds: str
    """What rare and negligible mean."""
    places: list[NamedPlace]
    """Named places in view."""
    figure: dict[str, Any]
    """The data that the script starts with, see explore_figure."""
    colours: list[tuple[MapColour, str]]
    """The values that points may be coloured by, and their names."""
    focus: FeatureSummary | None
    """The feature whose neighbours are shown."""
    neighbours: list[NeighbourGroup]
    hits: Hits | None
    """None when nothing is searched for."""
    selected: Selected | None
    """None when there is no shape."""
    listed: int
    """The number of features of either that are listed."""
    shown: list[str]
    """Names of the SAEs that are not hidden."""
    suggestions: list[FeatureSummary]
    """Features to start from."""
    kept: list[tuple[str, str]]
    """The rest of the state, which a search keeps."""
    marks: list[Mark]
    """Position of the SAE, x and y of each hit; without a search, of the neighbours of the feature in focus."""
    series_of: dict[str, int]
    """Colours of the SAEs by name."""
    max_counted: int
    """Features that a shape may hold."""


def explore_page_of(run: OpenRun, asked: ExploreState, vector: Vector | None) -> ExplorePage:
    """The page's context. vector: of what is searched for, see the search.

    Raises NotFoundError for an unknown feature or SAE, RefusedError for an invalid shape.
    """
    hidden = {sae.name for sae in chosen_saes(run, asked.hide)} if asked.hide else set()
    saes = [sae for sae in run.saes if sae.name not in hidden]
    focus, neighbours, place, near = _focus(run, asked.f, asked.minor) if asked.f else (None, [], None, [])
    series_of = {sae.name: sae.record.position for sae in run.saes}
    view = read_view(run, asked.view)
    hits = find_hits(run, saes, asked.q.strip(), vector, minor=asked.minor) if asked.q.strip() and saes else None
    return ExplorePage(
        run=run_card(run),
        asked=asked,
        num_points=run.map.num_points,
        num_minor=run.map.num_minor,
        kinds=kinds_text(run),
        places=named_places(run, view, side_at(run, view), PLACES_LISTED),
        figure=explore_figure(run, asked.minor, place, near),
        colours=_colours(run),
        focus=focus,
        neighbours=neighbours,
        hits=hits,
        selected=select(run, saes, read_polygon(asked.sel), minor=asked.minor) if asked.sel and saes else None,
        listed=LISTED,
        shown=[sae.name for sae in saes],
        suggestions=showpieces(run),
        kept=asked.changed(q="").pairs(),
        marks=[(series_of[hit.feature.sae], hit.x, hit.y) for hit in hits.hits] if hits else near,
        series_of=series_of,
        max_counted=MAX_POINTS,
    )


def explore_figure(
    run: OpenRun, minor: bool, place: tuple[float, float] | None, near: Sequence[Mark]
) -> dict[str, Any]:
    """The data that the script starts with: addresses, the world, SAEs by name, the place in focus, the first view."""
    state = {"run": run.name, "key": run.record.key}
    return {
        "views": rooted(f"/api/v1/map{query(**state, minor=minor or None)}"),
        "names": rooted(f"/api/v1/map/regions{query(**state)}"),
        "features": rooted(f"/api/v1/features/{run.record.model}"),
        "pages": rooted(f"/{run.record.model}"),
        "world": list(run.map.world.view),
        "saes": [sae.name for sae in run.saes],
        "place": place,
        "view": list(_around(run.map.world.view, place, near) if place else run.map.world.view),
    }


def _around(world: View, place: tuple[float, float], near: Sequence[Mark]) -> View:
    """A square around a place that holds most of its neighbours, from 1/50 to half of the map wide."""
    size = max(world.x1 - world.x0, world.y1 - world.y0)
    away = sorted(max(abs(x - place[0]), abs(y - place[1])) for _, x, y in near)
    half = min(max(1.2 * away[2 * len(away) // 3], size / 100), size / 4) if away else size / 20
    return View(place[0] - half, place[0] + half, place[1] - half, place[1] + half)


def _colours(run: OpenRun) -> list[tuple[MapColour, str]]:
    found: list[tuple[MapColour, str]] = [("sae", "SAE"), ("density", "density")]
    return [*found, ("score", "label score")] if run.map.has_scores else found


def _focus(
    run: OpenRun, name: str, minor: bool
) -> tuple[FeatureSummary, list[NeighbourGroup], tuple[float, float] | None, list[Mark]]:
    """The feature that model/sae/index names, its neighbours, its place where it has one, and theirs."""
    address, _, index = name.rpartition("/")
    sae = next((sae for sae in run.saes if sae.href == f"/{address}"), None)
    if sae is None or not sae.has(index):
        raise NotFoundError(f"There is no feature '{name}' in run '{run.name}'.")
    feature, neighbours = get_surroundings(sae, int(index), NEIGHBOURS_SHOWN, minor=minor)
    saes = {other.name: other for other in run.saes}
    others = [(saes[group.sae], one.feature.index) for group in neighbours for one in group.nearest]
    own, *places = get_places(run, [sae.row(int(index)), *(other.row(at) for other, at in others)])
    marks = [
        (other.record.position, *place) for (other, _), place in zip(others, places, strict=True) if place is not None
    ]
    return feature, neighbour_groups(sae, neighbours), own, marks
