"""The home page, and a random feature."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from backend.exceptions import NotFoundError
from backend.home.page import home_page_of
from backend.home.panel import HomeState
from backend.html.templates import render
from backend.published.selection import random_feature
from backend.web.dependencies import EngineDep, LibraryDep, RunDep

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
    run: RunDep,
    sae: Annotated[str, Query(description="Name of the SAE to draw from.")] = "",
    minor: Annotated[bool, Query(description="Rare and negligible features too.")] = False,
) -> Response:
    """Redirect to a random live feature."""
    chosen = [other for other in run.saes if sae in ("", other.name)]
    feature = random_feature(chosen, minor=minor) if chosen else None
    if feature is None:
        raise NotFoundError(f"There is no live feature in '{sae or run.name}'.")
    return RedirectResponse(feature.href, 303, {"cache-control": "no-store"})
