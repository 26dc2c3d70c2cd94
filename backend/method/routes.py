"""The method page."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.exceptions import NotFoundError
from backend.html.templates import render
from backend.method.page import method_page_of
from backend.web.dependencies import LibraryDep

router = APIRouter(include_in_schema=False)


@router.get("/method")
def method_page(
    request: Request,
    library: LibraryDep,
    run: Annotated[str, Query(description="Name of the run whose figures are shown; the newest where empty.")] = "",
) -> Response:
    """How the numbers come about, with those of one run."""
    runs = library.catalogue().runs
    chosen = next((one for one in runs if run in ("", one.name)), None)
    if run and chosen is None:
        raise NotFoundError(f"There is no run '{run}' here.")
    return render(request, "method/method.html", method_page_of(chosen))
