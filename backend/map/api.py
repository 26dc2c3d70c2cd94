"""The map for programs: a view of its points or cells, as bytes."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.html.assets import IMMUTABLE
from backend.map.regions import NamedPlace, named_places
from backend.map.views import MapQuery, RegionQuery, ViewQuery, asked_view, make_view
from backend.published.catalogue import OpenRun
from backend.web.dependencies import RunDep

router = APIRouter(tags=["map"])
BINARY = "application/octet-stream"


@router.get(
    "/api/v1/map",
    response_class=Response,
    responses={
        200: {"content": {BINARY: {"schema": {"type": "bytes"}}}, "description": "A view, see backend/map/views.py."}
    },
)
def map_view(request: Request, run: RunDep, asked: Annotated[MapQuery, Query()]) -> Response:
    """A rectangle of the map: its points, or counts in cells where it has more than 50,000.

    The answer is binary, so that a browser need not parse it, and never above 1 MB. It begins with the length of a JSON
    header (4 bytes, little-endian). The header says the `kind` (points or cells), how many are of each SAE, one SAE
    after the other, and the `arrays` that follow it without gaps, little-endian. Points: `x`, `y` (float32), `index`
    (int32). Cells: `count` (int32), `column`, `row` (uint16) at `level`, which cuts the `world` into 2^level by 2^level
    squares. Both have `value` (float32) for other colours than `sae`. With `key`, which the explorer names, it can be
    kept for good.
    """
    headers = _headers(request, run, asked)
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(make_view(run, asked), media_type=BINARY, headers=headers)


@router.get("/api/v1/map/regions")
def map_regions(
    request: Request, response: Response, run: RunDep, asked: Annotated[RegionQuery, Query()]
) -> list[NamedPlace]:
    """The names of places in a rectangle of the map, those of the largest places first.

    A name that comes before another has the place where both would overlap on the screen.
    """
    response.headers.update(_headers(request, run, asked))
    return named_places(run, asked_view(run, asked), asked.side)


def _headers(request: Request, run: OpenRun, asked: ViewQuery) -> dict[str, str]:
    """By which a browser keeps an answer."""
    query = hashlib.sha256(request.url.query.encode()).hexdigest()[:16]
    kept = IMMUTABLE if asked.key == run.record.key else "no-cache"
    return {"etag": f'"{run.record.key}-{query}"', "cache-control": kept}
