"""The page of random features against random neurons."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.exceptions import NotFoundError
from backend.html.templates import render
from backend.neurons.page import NeuronsAddress, compared_runs, neurons_page_of
from backend.published.catalogue import Catalogue, OpenRun
from backend.web.dependencies import LibraryDep

router = APIRouter(include_in_schema=False)


@router.get("/neurons")
def neurons_page(request: Request, library: LibraryDep, view: Annotated[NeuronsAddress, Query()]) -> Response:
    """Random features against random neurons of one run."""
    return render(request, "neurons/neurons.html", neurons_page_of(_run(library.catalogue(), view.run), view))


def _run(catalogue: Catalogue, name: str) -> OpenRun | None:
    """The run of a name; the newest that compared some, else the newest, where there is no name."""
    if not name:
        return next(iter([*compared_runs(catalogue.runs), *catalogue.runs]), None)
    found = next((run for run in catalogue.runs if run.name == name), None)
    if found is None:
        raise NotFoundError(f"There is no run '{name}' here.")
    return found
