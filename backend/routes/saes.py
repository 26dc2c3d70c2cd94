"""SAEs: the list of them, and the page of one with its table of features."""

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from backend.cards import recipe_lines, run_card, sae_card, tokens_seen
from backend.catalogue import OpenSAE
from backend.contexts import Link, SAEPage
from backend.dependencies import LibraryDep, SAEDep
from backend.downloads import downloads
from backend.errors import not_found
from backend.figures import Bars, curve_figures, density_bars
from backend.lists import columns, density_link, pager, presets
from backend.selection import Selection, list_features, scores_of
from backend.templates import render

router = APIRouter(prefix="/api/v1/saes", tags=["SAEs"])
pages = APIRouter(include_in_schema=False)

SelectionQuery = Annotated[Selection, Query()]


@dataclass(frozen=True)
class SAEInfo:
    """A published SAE."""

    model: str
    name: str
    run: str
    layer: int
    """It reads the output of `model.layers[layer]`."""
    architecture: str
    num_features: int
    num_tokens: int
    """Tokens that statistics and examples were counted on."""
    config: dict[str, Any]
    """Its section of the recipe."""
    metrics: dict[str, Any]
    """Measured on held-out documents."""
    href: str
    """Address of its page."""


@router.get("")
def list_saes(library: LibraryDep) -> list[SAEInfo]:
    """All published SAEs with their metrics, the newest run first."""
    return [_info(sae) for run in library.catalogue().runs for sae in run.saes]


@pages.get("/{model}")
def model_page(model: str, library: LibraryDep) -> Response:
    """Leads to the part of the home page on the newest run of a model."""
    run = next((run for run in library.catalogue().runs if run.record.model == model), None)
    if run is None:
        raise not_found("There is nothing at this address.")
    return RedirectResponse(f"/#run-{quote(run.name)}", 303)


@pages.get("/{model}/{sae}")
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
        density_bars=_density(sae, selection),
        curve_figures=curve_figures(sae.record.curve),
        recipe=recipe_lines(sae),
    )
    return render(request, "saes/sae.html", page)


def _density(sae: OpenSAE, selection: Selection) -> Bars | None:
    histogram = sae.record.metrics.get("density_histogram")
    if not histogram:
        return None
    return density_bars(
        histogram["counts"],
        histogram["log10_edges"],
        lambda low, high: density_link(selection, float(f"{low:.3g}"), float(f"{high:.3g}")),
    )


def _info(sae: OpenSAE) -> SAEInfo:
    record = sae.record
    return SAEInfo(
        model=sae.model,
        name=sae.name,
        run=sae.run.name,
        layer=sae.run.record.layer,
        architecture=record.architecture,
        num_features=sae.num_features,
        num_tokens=sae.run.num_tokens,
        config=record.config,
        metrics=record.metrics,
        href=sae.href,
    )
