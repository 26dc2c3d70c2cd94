"""The splitting of features for programs: a feature's relatives in other sizes, their numbers, and new features."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from backend.published.examples import Example
from backend.published.features import FeatureSummary
from backend.splitting.address import DEFAULT_THRESHOLD, NewFeaturesPageNumber, Threshold
from backend.splitting.family import Relative, get_family
from backend.splitting.lookup import named_feature, named_sae, smaller_saes
from backend.splitting.sizes import NewFeatureOrder, NewFeatures, by_size, count_new, new_features, num_counted
from backend.splitting.sizes_page import ALL_SMALLER
from backend.web.dependencies import LibraryDep, RunDep

router = APIRouter(tags=["splitting"])

NEW_FEATURES_PER_PAGE = 50


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
    num_counted: int
    """Its features that are compared: live ones, and with `minor` rare and negligible ones too."""
    num_new: int
    """Those of them without a relative in the other."""


ThresholdQuery = Annotated[
    Threshold, Query(description="Least cosine of decoder directions that makes a relative; in hundredths.")
]


MinorQuery = Annotated[bool, Query(description="Rare and negligible features too, see the lists of features.")]


@router.get("/api/v1/compare")
def get_relatives(
    library: LibraryDep,
    f: Annotated[str, Query(description="model/sae/index")],
    t: ThresholdQuery = DEFAULT_THRESHOLD,
    minor: MinorQuery = False,
) -> FamilyAnswer:
    """The relatives of a feature in every SAE of its run: the nearest eight of each, and how many there are."""
    family = get_family(*named_feature(library, f), t, minor=minor)
    names = {member.number: member.preview.feature.name for member in family.members}
    counts = [RelativeCount(sae, *count) for sae, count in family.counts.items()]
    return FamilyAnswer(t, [_member(member, names) for member in family.members], counts)


@router.get("/api/v1/compare/counts")
def get_counts(run: RunDep, t: ThresholdQuery = DEFAULT_THRESHOLD, minor: MinorQuery = False) -> list[NewCount]:
    """For each SAE of a run and each other one, the features that have no relative there: no live feature as near."""
    counts_SS, counted = count_new(run, t, minor=minor).tolist(), num_counted(run, minor=minor)
    pairs = [(sae, other) for sae in by_size(run) for other in by_size(run) if sae is not other]
    places = [(sae, other, sae.record.position, other.record.position) for sae, other in pairs]
    return [NewCount(sae.name, other.name, counted[s], counts_SS[s][o]) for sae, other, s, o in places]


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
    minor: MinorQuery = False,
) -> NewFeatures:
    """The features of an SAE that have no relative in another one, or in any smaller one."""
    found = named_sae(run, sae)
    return new_features(found, smaller_saes(found, other), t, page, per_page, order, minor=minor)


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
