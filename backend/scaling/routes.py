"""The page of scaling laws."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.html.templates import render
from backend.published.scaling import scaled_runs
from backend.scaling.address import ScalingState
from backend.scaling.page import scaling_page_of
from backend.web.dependencies import LibraryDep, get_run

router = APIRouter(include_in_schema=False)


@router.get("/scaling")
def scaling_page(request: Request, library: LibraryDep, state: Annotated[ScalingState, Query()]) -> Response:
    """How loss falls with size, tokens and compute, by one grid of a run."""
    scaled = scaled_runs(library.catalogue().runs)
    run = scaled[0] if scaled and not state.run else get_run(library, state.run or None)
    return render(request, "scaling/scaling.html", scaling_page_of(run, scaled, state))
