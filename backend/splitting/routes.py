"""The page of a feature's family, and the page of sizes."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.exceptions import NotFoundError
from backend.html.templates import render
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.lookup import require_runs
from backend.splitting.address import CompareState
from backend.splitting.api import NEW_FEATURES_PER_PAGE
from backend.splitting.family import get_family
from backend.splitting.family_page import family_page_of
from backend.splitting.lookup import named_feature, named_sae, smaller_saes
from backend.splitting.sizes import NewFeatures, by_size, new_features, smaller_than
from backend.splitting.sizes_page import ALL_SMALLER, sizes_page_of
from backend.web.dependencies import LibraryDep

router = APIRouter(tags=["splitting"])


@router.get("/compare", include_in_schema=False)
def compare_page(request: Request, library: LibraryDep, asked: Annotated[CompareState, Query()]) -> Response:
    """With a feature its family; without one, the counts of a run."""
    if asked.f.strip():
        found, index = named_feature(library, asked.f)
        family = get_family(found, index, asked.t, minor=asked.minor)
        return render(request, "splitting/family.html", family_page_of(found, family))
    runs = library.catalogue().runs
    named = [one for one in runs if asked.run in (None, "", one.name)]
    run = next((one for one in named if len(one.saes) > 1), named[0] if named else None)
    if run is None:
        require_runs(library.catalogue())
        raise NotFoundError(f"There is no run '{asked.run}' here.")
    sae, other = _chosen(run, asked)
    result = NewFeatures(0, 1, NEW_FEATURES_PER_PAGE, [])
    if len(run.saes) > 1 or asked.other:
        others = smaller_saes(sae, other)
        result = new_features(sae, others, asked.t, asked.page, NEW_FEATURES_PER_PAGE, asked.order, minor=asked.minor)
    state = asked.changed(f="", run=run.name, sae=sae.name, other=other)
    return render(request, "splitting/sizes.html", sizes_page_of(sae, state, result, runs))


def _chosen(run: OpenRun, asked: CompareState) -> tuple[OpenSAE, str]:
    """The SAEs to compare: the largest against all smaller ones, unless others are named."""
    ordered = by_size(run)
    sae = named_sae(run, asked.sae) if asked.sae else ordered[-1]
    rest = [one.name for one in ordered if one is not sae]
    return sae, asked.other or (ALL_SMALLER if smaller_than(sae) or not rest else rest[0])
