"""Health checks: whether the server runs, and whether it has something to show."""

from typing import Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from backend.web.dependencies import LibraryDep

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The server is up."""

    status: Literal["ok"] = "ok"


class LeftOut(BaseModel):
    """A published run that the server cannot show."""

    run: str
    reason: str
    """The reason, and the remedy."""


class Readiness(Health):
    """The server is ready; runs that it cannot show are named."""

    left_out: list[LeftOut]


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz")
def readyz(library: LibraryDep) -> Readiness:
    """The database answers and every run of this contract version can be opened; 503 otherwise, or when there is none.

    Runs of other contract versions are named.
    """
    catalogue = library.catalogue()
    left_out = [LeftOut(run=run.name, reason=run.reason) for run in catalogue.left_out]
    if not catalogue.runs:
        missing = [run.reason for run in left_out] or ["Nothing is published yet: run `make demo`, or `monosema run`."]
        raise HTTPException(503, " ".join(missing))
    for run in catalogue.runs:
        run.tables.count("features")
    return Readiness(left_out=left_out)
