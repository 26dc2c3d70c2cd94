"""The page of the map."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.html.templates import render
from backend.map.page import ExploreState, explore_page_of
from backend.web.dependencies import EngineDep, RunDep

router = APIRouter(tags=["map"])


@router.get("/explore", include_in_schema=False)
def explore_page(request: Request, run: RunDep, engine: EngineDep, asked: Annotated[ExploreState, Query()]) -> Response:
    """The map, and beside it the features in focus, found or selected."""
    return render(request, "map/explore.html", explore_page_of(run, asked, engine.sentences.vector(run, asked.q)))
