"""Pages that belong to no noun: home, a random feature, the description of the API."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from backend.cards import run_card
from backend.catalogue import Catalogue
from backend.contexts import DocsPage, HomePage, Notice
from backend.dependencies import EngineDep, LibraryDep, RunDep
from backend.engine import Engine
from backend.errors import not_found
from backend.openapi import operations
from backend.queries import random_feature
from backend.showpieces import worked_example
from backend.templates import render

router = APIRouter(include_in_schema=False)


@router.get("/")
def home_page(request: Request, library: LibraryDep, engine: EngineDep) -> Response:
    """What this is, and what there is to see."""
    catalogue = library.catalogue()
    runs = catalogue.runs
    page = HomePage(
        runs=[run_card(run) for run in runs],
        worked=worked_example(runs[0]) if runs else None,
        total_features=sum(sae.num_features for run in runs for sae in run.saes),
        notices=_notices(catalogue, engine),
    )
    return render(request, "home.html", page)


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
    return render(request, "docs.html", page)


def _notices(catalogue: Catalogue, engine: Engine) -> list[Notice]:
    """Runs that are left out, and runs whose model cannot be asked; what several have in common is said once."""
    found = [Notice(f"Run '{run.name}' is not shown", run.reason) for run in catalogue.left_out]
    reasons: dict[str, list[str]] = {}
    for run in catalogue.runs:
        if reason := engine.why_off(run):
            reasons.setdefault(reason, []).append(run.record.model)
    for reason, models in reasons.items():
        found.append(Notice(f"Prompts and steering are off for {', '.join(dict.fromkeys(models))}", reason))
    return found
