"""The page of an SAE, and of a model."""

from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from backend.exceptions import NotFoundError
from backend.features.table import SelectionQuery
from backend.html.templates import render
from backend.saes.page import sae_page_of
from backend.web.dependencies import LibraryDep, SAEDep

router = APIRouter(include_in_schema=False)


@router.get("/{model}")
def model_page(model: str, library: LibraryDep) -> Response:
    """Redirect to the section of the home page on the newest run of a model."""
    run = next((run for run in library.catalogue().runs if run.record.model == model), None)
    if run is None:
        raise NotFoundError("There is nothing at this address.")
    return RedirectResponse(f"/#run-{quote(run.name)}", 303)


@router.get("/{model}/{sae}")
def sae_page(request: Request, sae: SAEDep, selection: SelectionQuery, library: LibraryDep) -> Response:
    """One SAE and its features."""
    return render(request, "saes/sae.html", sae_page_of(sae, selection, library.catalogue()))
