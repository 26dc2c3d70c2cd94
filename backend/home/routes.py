"""The home page, and a random feature."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from backend.exceptions import NotFoundError
from backend.home.page import home_page_of
from backend.home.panel import HomeState
from backend.html.templates import render
from backend.published.lookup import newest_with
from backend.published.selection import random_feature
from backend.web.dependencies import EngineDep, LibraryDep, get_run

router = APIRouter(include_in_schema=False)


@router.get("/")
def home_page(
    request: Request, state: Annotated[HomeState, Query()], library: LibraryDep, engine: EngineDep
) -> Response:
    """The home page: one question answered twice, an introduction, and the published SAEs.

    While it is read, the model of its demonstration is loaded, for the question that may come next.
    """
    page = home_page_of(library.catalogue(), engine, state)
    if page.panel:
        engine.prepare(page.panel.run)
    return render(request, "home/home.html", page)


@router.get("/random")
def random_page(
    library: LibraryDep,
    run: Annotated[str | None, Query(description="Name of the run; the newest by default.")] = None,
    sae: Annotated[str, Query(description="Name of the SAE to draw from, in the newest run that has it.")] = "",
    minor: Annotated[bool, Query(description="Rare and negligible features too.")] = False,
) -> Response:
    """Redirect to a random live feature."""
    drawn = get_run(library, run) if run is not None or not sae else newest_with(library.catalogue(), sae)
    chosen = [other for other in drawn.saes if sae in ("", other.name)]
    feature = random_feature(chosen, minor=minor) if chosen else None
    if feature is None:
        raise NotFoundError(f"There is no live feature in '{sae or drawn.name}'.")
    return RedirectResponse(feature.href, 303, {"cache-control": "no-store"})
