"""The API for features: lists of them, and one with its examples and neighbours."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from backend.exceptions import NotFoundError
from backend.features.candidates import all_candidates
from backend.features.table import SelectionQuery
from backend.features.vectors import MEDIA_TYPE, feature_vectors, file_name
from backend.published.candidates import LabelCandidate
from backend.published.examples import Example, get_examples
from backend.published.features import Feature, get_feature
from backend.published.neighbours import Neighbours, get_neighbours
from backend.published.neurons import FeatureNeurons, get_neurons
from backend.published.scores import (
    FeatureScore,
    JudgedExample,
    get_answers,
    get_judged,
    get_scores,
    judges_of,
    step_of,
)
from backend.published.selection import FeatureList, list_features
from backend.published.strengths import StrengthCurve, get_strengths
from backend.web.dependencies import EngineDep, IndexDep, SAEDep
from data.artifacts.features import ExampleKind

router = APIRouter(prefix="/api/v1/features", tags=["features"])


@router.get("/{model}/{sae}")
def get_features(sae: SAEDep, selection: SelectionQuery) -> FeatureList:
    """The features of an SAE, sorted, filtered and paged."""
    return list_features(sae, selection)


@router.get("/{model}/{sae}/{index}")
def get_one_feature(sae: SAEDep, index: IndexDep) -> Feature:
    """One feature: label, statistics, histogram, promoted and suppressed tokens."""
    return get_feature(sae, index)


@router.get(
    "/{model}/{sae}/{index}/vectors.npz",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_feature_vectors(sae: SAEDep, index: IndexDep) -> Response:
    """Its decoder and encoder directions, bias and threshold as one file, for `numpy.load`."""
    headers = {"content-disposition": f'attachment; filename="{file_name(sae, index)}"'}
    return Response(feature_vectors(sae, index), media_type=MEDIA_TYPE, headers=headers)


@router.get("/{model}/{sae}/{index}/examples")
def get_feature_examples(
    sae: SAEDep,
    index: IndexDep,
    kind: ExampleKind = "top",
    limit: Annotated[int | None, Query(ge=1, le=100, description="The first so many; all by default.")] = None,
    context: Annotated[
        int | None, Query(ge=0, le=1000, description="Tokens on either side; all that are published by default.")
    ] = None,
) -> list[Example]:
    """Its examples of one kind, with the activation on every token."""
    return get_examples(sae, get_feature(sae, index), kind, context)[:limit]


@router.get("/{model}/{sae}/{index}/neighbours")
def get_feature_neighbours(
    sae: SAEDep,
    index: IndexDep,
    k: Annotated[int, Query(ge=1, le=100, description="How many in each SAE.")] = 10,
    other: Annotated[str | None, Query(alias="sae", description="Name of the only SAE to look in.")] = None,
    minor: Annotated[bool, Query(description="Rare and negligible ones too, see the lists of features.")] = False,
) -> list[Neighbours]:
    """Its nearest features by decoder cosine, exact, in each SAE of the run: its own first.

    Features that are not live have neighbours too. With `minor` the lists may end earlier: fewer rare and negligible
    neighbours are published than live ones. Dead features are nobody's neighbours.
    """
    if other is not None and other not in {found.name for found in sae.run.saes}:
        raise NotFoundError(f"There is no SAE '{other}' in run '{sae.run.name}'.")
    return get_neighbours(sae, index, k, other, minor=minor)


@router.get("/{model}/{sae}/{index}/scores")
def get_feature_scores(sae: SAEDep, index: IndexDep) -> list[FeatureScore]:
    """Its scores by every judge, each with how the judge does where the truth is known."""
    return get_scores(sae, get_feature(sae, index))


@router.get("/{model}/{sae}/{index}/candidates")
def get_label_candidates(sae: SAEDep, index: IndexDep, engine: EngineDep) -> list[LabelCandidate]:
    """Labels that it may have, each with its origin and its scores on the same texts, from which none was made.

    An owner's label comes first, then the best by the judge that can be trusted most.
    """
    return all_candidates(sae, get_feature(sae, index), engine.sentences)


@router.get("/{model}/{sae}/{index}/judged")
def get_judged_examples(
    sae: SAEDep,
    index: IndexDep,
    judge: Annotated[str, Query(description="Name of the judge.")],
    band: Annotated[int | None, Query(ge=0, le=99, description="Part of its range, 0 the lowest.")] = None,
    score: Annotated[int | None, Query(ge=0, le=3, description="The answer, rounded.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> list[JudgedExample]:
    """Activations drawn evenly over its range, the highest band first, with what one judge says of each, 0 to 3."""
    names = [one.name for one in judges_of(sae.run)]
    if judge not in names:
        raise NotFoundError(f"There is no judge '{judge}' in run '{sae.run.name}': use one of {', '.join(names)}.")
    feature, number = get_feature(sae, index), names.index(judge)
    found = get_answers(sae, feature, number)
    rows = [
        row
        for row, of_band, of_score in zip(found.rows, found.bands, found.scores, strict=True)
        if band in (None, of_band) and score in (None, step_of(of_score))
    ]
    return get_judged(sae, feature, number, rows[:limit])


@router.get("/{model}/{sae}/{index}/neurons")
def get_feature_neurons(sae: SAEDep, index: IndexDep) -> FeatureNeurons:
    """The MLP neurons that it goes with, of all layers up to the one that the SAE reads, by Pearson correlation.

    The first of them come with examples of their own: where they are highest, or lowest if r is below zero.
    """
    return get_neurons(sae, get_feature(sae, index))


@router.get("/{model}/{sae}/{index}/strengths")
def get_feature_strengths(sae: SAEDep, index: IndexDep) -> StrengthCurve:
    """What it does when it is held at one strength after the other: how likely its words get, whether what is written
    is about its label, where the text breaks, and the strength at which it is best held."""
    return get_strengths(sae, get_feature(sae, index))
