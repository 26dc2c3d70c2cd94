"""Features: lists of them, one with its examples and neighbours, and its page."""

from typing import Annotated

from fastapi import APIRouter, Query

from backend.cards import sae_card
from backend.catalogue import OpenSAE
from backend.contexts import NeighbourGroup
from backend.dependencies import IndexDep, SAEDep
from backend.errors import not_found
from backend.queries import Example, Feature, Neighbours, get_examples, get_feature, get_neighbours
from backend.routes.saes import SelectionQuery
from backend.selection import FeatureList, list_features
from data.records import ExampleKind

router = APIRouter(prefix="/api/v1/features", tags=["features"])


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


def neighbour_groups(sae: OpenSAE, found: list[Neighbours]) -> list[NeighbourGroup]:
    """The nearest features as pages show them, SAE by SAE."""
    cards = {other.name: sae_card(other) for other in sae.run.saes}
    return [NeighbourGroup("In this SAE" if n.own else f"In {n.sae}", cards[n.sae], n) for n in found]
