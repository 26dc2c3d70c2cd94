"""The page of a feature, what others may embed of it, and the same as JSON."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.exceptions import NotFoundError
from backend.features.page import (
    EMBEDDED_EXAMPLES,
    TITLES,
    EmbedPage,
    FeaturePage,
    FeatureState,
    context_links,
    document_steps,
    embed_html,
    groups,
    near_groups,
    neighbourhood,
    score_text,
    shortfall,
    step_href,
    tabs,
)
from backend.html.figures import activation_bars
from backend.html.templates import render
from backend.published.cards import feature_metrics, sae_card
from backend.published.catalogue import OpenSAE
from backend.published.documents import WholeDocument, whole_document
from backend.published.examples import Example, get_examples
from backend.published.features import Feature, get_feature
from backend.web.dependencies import EngineDep, IndexDep, SAEDep

router = APIRouter(include_in_schema=False)


@router.get("/{model}/{sae}/{index}.json")
def feature_json(sae: SAEDep, index: IndexDep) -> Feature:
    """The same as the API gives, beside the page."""
    return get_feature(sae, index)


@router.get("/{model}/{sae}/{index}")
def feature_page(
    request: Request, sae: SAEDep, index: IndexDep, view: Annotated[FeatureState, Query()], engine: EngineDep
) -> Response:
    """Everything about one feature, or with ?embed=1 what fits into a frame."""
    if view.embed:
        return _embedded(request, sae, index, view)
    feature, examples, document = _texts(sae, index, view)
    near, links = near_groups(sae, index), context_links(feature, view)
    place = [link.current for link in links].index(True)
    page = FeaturePage(
        sae=sae_card(sae),
        feature=feature,
        score=score_text(feature),
        num_tokens=sae.run.num_tokens,
        previous=step_href(sae, index - 1, view),
        next=step_href(sae, index + 1, view),
        metrics=feature_metrics(sae.run, feature),
        tabs=tabs(feature, view),
        contexts=links,
        next_context=links[(place + 1) % len(links)].href,
        about=TITLES[view.kind][1],
        shortfall=shortfall(sae, feature, view.kind),
        groups=groups(sae, feature, examples),
        document=document,
        steps=document_steps(feature, view, document) if document else {},
        in_full=feature.href + view.query(context="full", example=0, page=None),
        bars=activation_bars(feature.histogram, feature.histogram_edges, feature.max),
        near=near,
        map=neighbourhood(sae, feature, near),
        off=engine.why_off(sae.run),
        embed_html=embed_html(str(request.base_url).rstrip("/") + feature.href),
    )
    return render(request, "features/feature.html", page)


def _texts(sae: OpenSAE, index: int, view: FeatureState) -> tuple[Feature, list[Example], WholeDocument | None]:
    """The feature with its examples, or with the document of one of them."""
    feature = get_feature(sae, index)
    if view.context != "full":
        return feature, get_examples(sae, feature, view.kind, int(view.context)), None
    document = whole_document(sae, feature, view.kind, view.example, view.page)
    if document is None and (view.example or view.page):
        raise NotFoundError(
            f"This feature has no such example, or its document no such page: {feature.href} has them all."
        )
    return feature, [], document


def _embedded(request: Request, sae: OpenSAE, index: int, view: FeatureState) -> Response:
    feature = get_feature(sae, index)
    width = int(view.context) if view.context != "full" else None
    page = EmbedPage(
        sae=sae_card(sae),
        feature=feature,
        score=score_text(feature),
        num_tokens=sae.run.num_tokens,
        about=TITLES[view.kind][1],
        examples=get_examples(sae, feature, view.kind, width)[:EMBEDDED_EXAMPLES],
        link=feature.href + view.query(embed=False),
    )
    return render(request, "features/embed.html", page)
