"""The API for random features against random neurons."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from backend.exceptions import NotFoundError
from backend.published.catalogue import Catalogue, OpenRun
from backend.published.comparison import ComparedUnit, find_group, first_row, get_comparison, get_units
from backend.published.scores import judges_of
from backend.web.dependencies import LibraryDep
from data.artifacts.comparison import Comparison
from data.artifacts.scores import JudgeReport

router = APIRouter(prefix="/api/v1/neurons", tags=["neurons"])


@dataclass(frozen=True)
class ComparisonAnswer:
    """What a run compared."""

    run: str
    comparison: Comparison
    """Means with intervals at 95%, and tests against the neurons, by measure."""
    judges: list[JudgeReport]
    """The judges of the run, and how far each can be trusted."""


@router.get("/{run}")
def get_run_comparison(run: str, library: LibraryDep) -> ComparisonAnswer:
    """Random features of every SAE of a run against random MLP neurons, by the same scores."""
    found = _run(library.catalogue(), run)
    return ComparisonAnswer(found.name, get_comparison(found), judges_of(found))


@router.get("/{run}/{group}")
def get_compared_units(
    run: str,
    group: str,
    library: LibraryDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    offset: Annotated[int, Query(ge=0, description="So many are passed over.")] = 0,
) -> list[ComparedUnit]:
    """What was drawn of an SAE, or of the neurons (`neurons`): label, scores by measure, strongest examples."""
    found = _run(library.catalogue(), run)
    comparison = get_comparison(found)
    mine = find_group(comparison, group)
    if mine is None:
        raise NotFoundError(f"Nothing of '{group}' was compared in run '{run}'.")
    first = first_row(comparison, group)
    return get_units(found, list(range(first + offset, first + min(mine.num, offset + limit))))


def _run(catalogue: Catalogue, name: str) -> OpenRun:
    found = next((run for run in catalogue.runs if run.name == name), None)
    if found is None:
        raise NotFoundError(f"There is no run '{name}' here.")
    return found
