"""The map of a run: its points, and the explorer."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Request, Response

from backend.cards import run_card
from backend.catalogue import OpenRun, OpenSAE
from backend.contexts import ExplorePage, NeighbourGroup
from backend.dependencies import RunDep
from backend.errors import not_found
from backend.figures import map_figure
from backend.queries import FeatureSummary, get_map, get_surroundings
from backend.routes.features import neighbour_groups
from backend.showpieces import showpieces
from backend.templates import query, render
from backend.tokens import visible_text

router = APIRouter(tags=["map"])
DECIMALS = 3
"""Of coordinates: enough for any zoom that still shows points apart."""
NEIGHBOURS_SHOWN = 8


@dataclass(frozen=True)
class MapPoints:
    """The points of one SAE, column by column."""

    model: str
    sae: str
    index: list[int]
    x: list[float]
    y: list[float]
    density: list[float]
    label: list[str]


@router.get("/api/v1/map")
def map_points(run: RunDep) -> list[MapPoints]:
    """Every live feature of a run (the newest, without `run`) in two dimensions, SAE by SAE."""
    if "map" not in run.remembered:
        points = get_map(run)
        run.remembered["map"] = [_points(sae, points.filter(pc.equal(points["sae"], sae.name))) for sae in run.saes]
    found: list[MapPoints] = run.remembered["map"]
    return found


@router.get("/explore", include_in_schema=False)
def explore_page(request: Request, run: RunDep, f: str = "") -> Response:
    """The map, and a table of neighbours beside it."""
    focus, neighbours = _focus(run, f) if f else (None, [])
    page = ExplorePage(
        run=run_card(run),
        figure=map_figure([sae.name for sae in run.saes]),
        points=f"/api/v1/map{query(run=run.name)}",
        focus=focus,
        neighbours=neighbours,
        suggestions=[] if focus else showpieces(run),
    )
    return render(request, "explore.html", page)


def _focus(run: OpenRun, name: str) -> tuple[FeatureSummary, list[NeighbourGroup]]:
    """The feature that model/sae/index names, and its neighbours."""
    address, _, index = name.rpartition("/")
    sae = next((sae for sae in run.saes if sae.href == f"/{address}"), None)
    if sae is None or not sae.has(index):
        raise not_found(f"There is no feature '{name}' in run '{run.name}'.")
    feature, neighbours = get_surroundings(sae, int(index), NEIGHBOURS_SHOWN)
    return feature, neighbour_groups(sae, neighbours)


def _points(sae: OpenSAE, points: pa.Table) -> MapPoints:
    columns: dict[str, list[Any]] = points.to_pydict()
    x, y = ([round(value, DECIMALS) for value in columns[name]] for name in ("x", "y"))
    labels = [visible_text(label) for label in columns["label"]]
    return MapPoints(sae.model, sae.name, columns["index"], x, y, columns["density"], labels)
