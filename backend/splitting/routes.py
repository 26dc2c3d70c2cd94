"""Feature splitting: a feature's relatives in every size, and what is new at each size; the pages and the API."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.exceptions import NotFoundError, RefusedError
from backend.html.templates import render
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.examples import Example
from backend.published.features import FeatureSummary
from backend.published.lookup import find_feature
from backend.splitting.address import DEFAULT_THRESHOLD, CompareState, NewFeaturesPageNumber, Threshold
from backend.splitting.family import Relative, get_family
from backend.splitting.family_page import family_page_of
from backend.splitting.sizes import (
    NewFeatureOrder,
    NewFeatures,
    by_size,
    count_new,
    new_features,
    num_live,
    smaller_than,
)
from backend.splitting.sizes_page import ALL_SMALLER, sizes_page_of
from backend.web.dependencies import LibraryDep, RunDep

router = APIRouter(tags=["splitting"])

NEW_FEATURES_PER_PAGE = 50
ThresholdQuery = Annotated[
    Threshold, Query(description="Least cosine of decoder directions that makes a relative; in hundredths.")
]


@dataclass(frozen=True)
class FamilyMember:
    """One relative."""

    feature: FeatureSummary
    focus: bool
    """Whether it is the feature that was asked for."""
    cosine: float
    """With that feature."""
    parent: str | None
    """model/sae/index of its nearest relative in a smaller SAE."""
    parent_cosine: float | None
    x: float
    """In the plane of the family's two main components, the mean direction of each SAE taken off."""
    y: float
    examples: list[Example]


@dataclass(frozen=True)
class RelativeCount:
    """The number of relatives that a feature has in one SAE."""

    sae: str
    num_relatives: int
    complete: bool
    """False when there may be more: the published neighbours end above the threshold."""


@dataclass(frozen=True)
class FamilyAnswer:
    """A feature and its relatives, those of the smallest SAE first."""

    threshold: float
    members: list[FamilyMember]
    """Of each SAE the nearest eight at most."""
    counts: list[RelativeCount]
    """Of all relatives, shown or not."""


@dataclass(frozen=True)
class NewCount:
    """The features of one SAE that another lacks."""

    sae: str
    other: str
    num_live: int
    num_new: int
    """Its live features without a relative in the other."""


@router.get("/api/v1/compare")
def get_relatives(
    library: LibraryDep, f: Annotated[str, Query(description="model/sae/index")], t: ThresholdQuery = DEFAULT_THRESHOLD
) -> FamilyAnswer:
    """The relatives of a feature in every SAE of its run: the nearest eight of each, and how many there are."""
    family = get_family(*_feature(library, f), t)
    names = {member.number: member.preview.feature.name for member in family.members}
    counts = [RelativeCount(sae, *count) for sae, count in family.counts.items()]
    return FamilyAnswer(t, [_member(member, names) for member in family.members], counts)


@router.get("/api/v1/compare/counts")
def get_counts(run: RunDep, t: ThresholdQuery = DEFAULT_THRESHOLD) -> list[NewCount]:
    """For each SAE of a run and each other one, the live features that have no relative there."""
    counts_SS, live = count_new(run, t).tolist(), num_live(run)
    pairs = [(sae, other) for sae in by_size(run) for other in by_size(run) if sae is not other]
    places = [(sae, other, sae.record.position, other.record.position) for sae, other in pairs]
    return [NewCount(sae.name, other.name, live[s], counts_SS[s][o]) for sae, other, s, o in places]


@router.get("/api/v1/compare/new")
def get_new(
    run: RunDep,
    sae: Annotated[str, Query(description="Name of the SAE.")],
    other: Annotated[str, Query(description=f"Name of the other one; `{ALL_SMALLER}` for all smaller ones.")] = (
        ALL_SMALLER
    ),
    t: ThresholdQuery = DEFAULT_THRESHOLD,
    order: Annotated[
        NewFeatureOrder, Query(description="Highest maximum, highest density, or lowest cosine first.")
    ] = "max",
    page: NewFeaturesPageNumber = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = NEW_FEATURES_PER_PAGE,
) -> NewFeatures:
    """The features of an SAE that have no relative in another one, or in any smaller one."""
    found = _sae(run, sae)
    return new_features(found, _others(found, other), t, page, per_page, order)


@router.get("/compare", include_in_schema=False)
def compare_page(request: Request, library: LibraryDep, asked: Annotated[CompareState, Query()]) -> Response:
    """With a feature its family; without one, the counts of a run."""
    if asked.f.strip():
        found, index = _feature(library, asked.f)
        return render(request, "splitting/family.html", family_page_of(found, get_family(found, index, asked.t)))
    runs = library.catalogue().runs
    run = next((one for one in runs if asked.run in (None, "", one.name)), None)
    if run is None:
        raise NotFoundError(
            f"There is no run '{asked.run}' here." if runs else "Nothing is published yet: run `make demo` first."
        )
    sae, other = _chosen(run, asked)
    result = new_features(sae, _others(sae, other), asked.t, asked.page, NEW_FEATURES_PER_PAGE, asked.order)
    state = asked.changed(f="", run=run.name, sae=sae.name, other=other)
    return render(request, "splitting/sizes.html", sizes_page_of(sae, state, result, runs))


def _chosen(run: OpenRun, asked: CompareState) -> tuple[OpenSAE, str]:
    """The SAEs to compare: the largest against all smaller ones, unless others are named."""
    ordered = by_size(run)
    sae = _sae(run, asked.sae) if asked.sae else ordered[-1]
    rest = [one.name for one in ordered if one is not sae]
    return sae, asked.other or (ALL_SMALLER if smaller_than(sae) or not rest else rest[0])


def _feature(library: LibraryDep, name: str) -> tuple[OpenSAE, int]:
    try:
        return find_feature(library, name)
    except RefusedError as error:
        raise NotFoundError(str(error)) from None


def _sae(run: OpenRun, name: str) -> OpenSAE:
    found = next((sae for sae in run.saes if sae.name == name), None)
    if found is None:
        raise NotFoundError(f"There is no SAE '{name}' in run '{run.name}'.")
    return found


def _others(sae: OpenSAE, name: str) -> list[OpenSAE]:
    """The SAEs to compare with. Raises NotFoundError."""
    if name != ALL_SMALLER:
        other = _sae(sae.run, name)
        if other is sae:
            raise NotFoundError(f"'{name}' is the SAE itself: name another one.")
        return [other]
    if not (smaller := smaller_than(sae)):
        raise NotFoundError(f"No SAE of run '{sae.run.name}' is smaller than '{sae.name}': name another one.")
    return smaller


def _member(member: Relative, names: dict[int, str]) -> FamilyMember:
    has_parent = member.parent is not None
    return FamilyMember(
        feature=member.preview.feature,
        focus=member.focus,
        cosine=member.cosine,
        parent=names[member.parent] if member.parent is not None else None,
        parent_cosine=member.parent_cosine if has_parent else None,
        x=member.x,
        y=member.y,
        examples=member.preview.examples,
    )
