"""The page of the map."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.html.templates import render
from backend.map.page import ExploreState, explore_page_of
from backend.web.dependencies import EngineDep, LibraryDep, RunDep

router = APIRouter(tags=["map"])


@router.get("/explore", include_in_schema=False)
def explore_page(
    request: Request, library: LibraryDep, run: RunDep, engine: EngineDep, asked: Annotated[ExploreState, Query()]
) -> Response:
    """The map, and beside it the features in focus, found or selected. Without a run, that of the feature in focus."""
    model, _, of_model = asked.f.partition("/")
    sae = library.catalogue().saes.get((model, of_model.partition("/")[0]))
    if sae is not None and not asked.run and sae.run is not run:
        run, asked = sae.run, asked.changed(run=sae.run.name)
    return render(request, "map/explore.html", explore_page_of(run, asked, engine.sentences.vector(run, asked.q)))
