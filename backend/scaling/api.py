"""The API of scaling laws: the grids of a run, and their data as CSV."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from backend.published.catalogue import OpenRun
from backend.published.scaling import find_grid, scaled_runs, scaling_of
from backend.scaling.address import MAX_BUDGET
from backend.scaling.files import MEDIA_TYPE, Table, write_table
from backend.texts import Typed
from backend.web.dependencies import LibraryDep, get_run
from data.artifacts.scaling import GridReport, ScalingReport
from data.artifacts.scaling_advice import GPU_FLOPS, Advice, advise
from data.artifacts.scaling_budgets import read_budget

router = APIRouter(prefix="/api/v1/scaling", tags=["scaling"])
FILE: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}}


@dataclass(frozen=True)
class ScalingAnswer:
    """What a run found."""

    run: str
    report: ScalingReport
    """Each grid has one objective; losses of two are not to be compared."""


@dataclass(frozen=True)
class AdviceAnswer:
    """What a budget should buy."""

    budget: str
    """As it was asked for."""
    gpu_flops: float
    """Operations each second at which hours of a GPU are counted."""
    advice: Advice


class AdviceQuery(Typed):
    """What advice is asked for."""

    budget: str = Field(max_length=MAX_BUDGET)


@router.get("")
def get_newest_scaling(library: LibraryDep) -> ScalingAnswer:
    """The grids of the newest run that has any: cells, fitted laws, predictions for cells that were held out."""
    scaled = scaled_runs(library.catalogue().runs)
    return _answer(scaled[0] if scaled else get_run(library))


@router.get("/{run}")
def get_scaling(run: str, library: LibraryDep) -> ScalingAnswer:
    """The grids of a run: cells, fitted laws, predictions for cells that were held out."""
    return _answer(get_run(library, run))


@router.get("/{run}/{objective}")
def get_grid(run: str, objective: str, library: LibraryDep) -> GridReport:
    """One grid of a run, by its objective: relu-2.5, topk-32."""
    return find_grid(get_run(library, run), objective)


@router.get("/{run}/{objective}/advice")
def get_advice(run: str, objective: str, library: LibraryDep, asked: Annotated[AdviceQuery, Query()]) -> AdviceAnswer:
    """What a budget should buy by the laws of a grid: 200gpu-hours, 1e18FLOPs or 5e8tokens."""
    grid = find_grid(get_run(library, run), objective)
    return AdviceAnswer(asked.budget, GPU_FLOPS, advise(grid, read_budget(asked.budget)))


@router.get("/{run}/{objective}/{table}.csv", response_class=Response, responses=FILE)
def get_table(run: str, objective: str, table: Table, library: LibraryDep) -> Response:
    """A table of a grid as CSV."""
    found = get_run(library, run)
    text = write_table(find_grid(found, objective), table)
    name = f"{found.name}_{objective}_{table}.csv"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=f"{MEDIA_TYPE}; charset=utf-8", headers=headers)


def _answer(run: OpenRun) -> ScalingAnswer:
    return ScalingAnswer(run.name, scaling_of(run))
