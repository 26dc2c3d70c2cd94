"""Pages that belong to no noun: home, a random feature, the description of the API."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from backend.contexts import DocsPage
from backend.dependencies import EngineDep, LibraryDep, RunDep
from backend.errors import not_found
from backend.home_page import home
from backend.openapi import operations
from backend.selection import random_feature
from backend.templates import render

router = APIRouter(include_in_schema=False)


@router.get("/")
def home_page(request: Request, library: LibraryDep, engine: EngineDep) -> Response:
    """What this is, and what there is to see."""
    return render(request, "home/home.html", home(library.catalogue(), engine))


@router.get("/random")
def random_page(run: RunDep, sae: Annotated[str, Query(description="Name of the SAE to draw from.")] = "") -> Response:
    """Leads to a random feature that is alive."""
    chosen = [other for other in run.saes if sae in ("", other.name)]
    feature = random_feature(chosen) if chosen else None
    if feature is None:
        raise not_found(f"There is no live feature in '{sae or run.name}'.")
    return RedirectResponse(feature.href, 303, {"cache-control": "no-store"})


@router.get("/api/{rest:path}")
def unknown_address(rest: str) -> Response:
    """What the API does not have is no page either."""
    raise not_found(f"There is nothing at /api/{rest}: /docs lists what there is.")


@router.get("/docs")
def docs_page(request: Request) -> Response:
    """The API, described."""
    page = DocsPage(operations=operations(request.app.openapi()), openapi=request.app.openapi_url)
    return render(request, "base/docs.html", page)
