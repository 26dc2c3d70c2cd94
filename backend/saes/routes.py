"""The page of an SAE, and of a model."""

from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from backend.exceptions import NotFoundError
from backend.features.table import SelectionQuery, columns, pager, presets
from backend.html.figures import curve_figures
from backend.html.page import Link
from backend.html.templates import render
from backend.published.cards import recipe_lines, run_card, sae_card, tokens_seen
from backend.published.selection import list_features, scores_of
from backend.saes.downloads import downloads
from backend.saes.page import SAEPage, density_figure
from backend.web.dependencies import LibraryDep, SAEDep

router = APIRouter(include_in_schema=False)


@router.get("/{model}")
def model_page(model: str, library: LibraryDep) -> Response:
    """Leads to the part of the home page on the newest run of a model."""
    run = next((run for run in library.catalogue().runs if run.record.model == model), None)
    if run is None:
        raise NotFoundError("There is nothing at this address.")
    return RedirectResponse(f"/#run-{quote(run.name)}", 303)


@router.get("/{model}/{sae}")
def sae_page(request: Request, sae: SAEDep, selection: SelectionQuery) -> Response:
    """One SAE and its features."""
    result, scores = list_features(sae, selection), scores_of(sae)
    page = SAEPage(
        run=run_card(sae.run),
        sae=sae_card(sae),
        tokens_seen=tokens_seen(sae),
        siblings=[Link(other.name, other.href, other is sae) for other in sae.run.saes],
        selection=selection,
        result=result,
        columns=columns(selection, scores),
        pager=pager(result, selection),
        presets=presets(selection, scores),
        scores=scores,
        downloads=downloads(sae),
        density_bars=density_figure(sae, selection),
        curve_figures=curve_figures(sae.record.curve),
        recipe=recipe_lines(sae),
    )
    return render(request, "saes/sae.html", page)
