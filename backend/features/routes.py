"""The page of a feature, its embeddable form, and its JSON."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.features.links import FeatureState
from backend.features.page import embed_page_of, feature_page_of
from backend.html.templates import render
from backend.published.features import Feature, get_feature
from backend.web.dependencies import EngineDep, IndexDep, SAEDep
from backend.web.owners import OwnerDep

router = APIRouter(include_in_schema=False)


@router.get("/{model}/{sae}/{index}.json")
def feature_json(sae: SAEDep, index: IndexDep) -> Feature:
    """The feature as the API returns it, at an address beside its page."""
    return get_feature(sae, index)


@router.get("/{model}/{sae}/{index}")
def feature_page(
    request: Request, sae: SAEDep, index: IndexDep, view: Annotated[FeatureState, Query()], engine: EngineDep,
    owner: OwnerDep,
) -> Response:  # fmt: skip
    """Everything about one feature, or with ?embed=1 what fits into a frame."""
    if view.embed:
        return render(request, "features/embed.html", embed_page_of(sae, index, view))
    base = str(request.base_url).rstrip("/")
    page = feature_page_of(sae, index, view, base, engine.why_off(sae.run), owner=owner)
    return render(request, "features/feature.html", page)
