"""Features: lists of them, one with its examples and neighbours, and its page."""

from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.cards import feature_metrics, run_card, sae_card
from backend.catalogue import OpenSAE
from backend.contexts import ExampleGroup, FeaturePage, NeighbourGroup, Tab
from backend.dependencies import IndexDep, SAEDep
from backend.errors import not_found
from backend.figures import activation_bars
from backend.queries import (
    Example,
    Feature,
    FeatureList,
    Neighbours,
    get_examples,
    get_feature,
    get_neighbours,
    get_surroundings,
    list_features,
)
from backend.routes.saes import SelectionQuery
from backend.templates import render
from data.records import EXAMPLE_KINDS, ExampleKind

router = APIRouter(prefix="/api/v1/features", tags=["features"])
pages = APIRouter(include_in_schema=False)

NEIGHBOURS_SHOWN = 6
TITLES: dict[ExampleKind, tuple[str, str]] = {
    "top": ("Top", "Where it is strongest, at most one example per document."),
    "interval": ("Intervals", "Examples from five equal bands between zero and its maximum, the highest band first."),
    "bottom": ("Bottom", "Where it is just above zero."),
    "contrast": (
        "Contrast",
        "The same tokens as in the top examples, where it stays lowest: same words, other meaning.",
    ),
}
"""In the order of the tabs."""
SELDOM: dict[ExampleKind, str] = {
    "top": "it is active in no other document",
    "bottom": "it is active on no other token",
    "contrast": "its strongest tokens stand nowhere else",
    "interval": "some bands of its range hold fewer tokens than that",
}


@router.get("/{model}/{sae}")
def get_features(sae: SAEDep, selection: SelectionQuery) -> FeatureList:
    """The features of an SAE, sorted, filtered and paged."""
    return list_features(sae, selection)


@router.get("/{model}/{sae}/{index}")
def get_one_feature(sae: SAEDep, index: IndexDep) -> Feature:
    """One feature: label, statistics, histogram, promoted and suppressed tokens."""
    return get_feature(sae, index)


@router.get("/{model}/{sae}/{index}/examples")
def get_feature_examples(sae: SAEDep, index: IndexDep, kind: ExampleKind = "top") -> list[Example]:
    """Its examples of one kind, with the activation on every token."""
    return get_examples(sae, get_feature(sae, index), kind)


@router.get("/{model}/{sae}/{index}/neighbours")
def get_feature_neighbours(
    sae: SAEDep,
    index: IndexDep,
    k: Annotated[int, Query(ge=1, le=100, description="How many in each SAE.")] = 10,
    other: Annotated[str | None, Query(alias="sae", description="Name of the only SAE to look in.")] = None,
) -> list[Neighbours]:
    """Its nearest features by decoder cosine, exact, in each SAE of the run: its own first."""
    if other is not None and other not in {found.name for found in sae.run.saes}:
        raise not_found(f"There is no SAE '{other}' in run '{sae.run.name}'.")
    return get_neighbours(sae, index, k, other)


@pages.get("/{model}/{sae}/{index}.json")
def feature_json(sae: SAEDep, index: IndexDep) -> Feature:
    """The same as the API gives, beside the page."""
    return get_feature(sae, index)


@pages.get("/{model}/{sae}/{index}")
def feature_page(request: Request, sae: SAEDep, index: IndexDep, kind: ExampleKind = "top") -> Response:
    """Everything about one feature."""
    feature, neighbours = get_surroundings(sae, index, NEIGHBOURS_SHOWN)
    examples = get_examples(sae, feature, kind)
    page = FeaturePage(
        run=run_card(sae.run),
        sae=sae_card(sae),
        feature=feature,
        previous=f"{sae.href}/{index - 1}" if index else None,
        next=f"{sae.href}/{index + 1}" if index + 1 < sae.num_features else None,
        metrics=feature_metrics(sae.run, feature),
        tabs=_tabs(feature, kind),
        about=TITLES[kind][1],
        shortfall=_shortfall(sae, feature, kind),
        groups=_groups(sae, feature, examples),
        bars=activation_bars(feature.histogram, sae.record.histogram_scale, feature.max),
        neighbours=neighbour_groups(sae, neighbours),
    )
    return render(request, "feature.html", page)


def neighbour_groups(sae: OpenSAE, found: list[Neighbours]) -> list[NeighbourGroup]:
    """The nearest features as pages show them, SAE by SAE."""
    cards = {other.name: sae_card(other) for other in sae.run.saes}
    return [NeighbourGroup("In this SAE" if n.own else f"In {n.sae}", cards[n.sae], n) for n in found]


def _tabs(feature: Feature, kind: ExampleKind) -> list[Tab]:
    address = feature.href
    return [
        Tab(
            title,
            address if name == "top" else f"{address}?kind={name}",
            name == kind,
            feature.num_examples[name],
            text,
        )
        for name, (title, text) in TITLES.items()
    ]


def _groups(sae: OpenSAE, feature: Feature, examples: list[Example]) -> list[ExampleGroup]:
    """Interval examples by band, the others together."""
    width = feature.max / _asked(sae, "bands")
    return [
        ExampleGroup(f"{band * width:.3g} to {(band + 1) * width:.3g}" if band >= 0 else "", list(group))
        for band, group in groupby(examples, key=lambda example: example.band)
    ]


def _shortfall(sae: OpenSAE, feature: Feature, kind: ExampleKind) -> str:
    """Why there are fewer examples than the recipe asks for."""
    wanted = _asked(sae, "bands") * _asked(sae, "per_band") if kind == "interval" else _asked(sae, kind)
    found = feature.num_examples[kind]
    if found >= wanted or feature.dead:
        return ""
    return f"{found} instead of {wanted}: {SELDOM[kind]} among the {sae.run.num_tokens:,} tokens that were read."


def _asked(sae: OpenSAE, what: str) -> int:
    """A number of examples that the recipe asks for."""
    return int(sae.run.record.recipe["examples"][what])


assert set(TITLES) == set(EXAMPLE_KINDS)
