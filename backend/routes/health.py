"""Whether the server runs, and whether it has something to show."""

from typing import Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from backend.dependencies import LibraryDep

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """A plain yes."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz")
def readyz(library: LibraryDep) -> Health:
    """The database answers and every published run can be opened; 503 otherwise."""
    catalogue = library.catalogue()
    if not catalogue.runs:
        raise HTTPException(503, "Nothing is published yet: run `make demo`, or `monosema run`.")
    for run in catalogue.runs:
        run.tables.count("features")
    return Health()
