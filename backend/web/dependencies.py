"""Dependencies that endpoints declare by type."""

from typing import Annotated, cast

from fastapi import Depends, Path, Query, Request

from backend.engine.engine import Engine
from backend.exceptions import NotFoundError
from backend.published.catalogue import Library, OpenRun, OpenSAE
from backend.published.lookup import refuse_left_out, require_runs
from backend.published.verdicts import VerdictStore
from backend.settings import Settings


async def get_settings(request: Request) -> Settings:
    """The settings that the app was made with."""
    return cast(Settings, request.app.state.settings)


async def get_library(request: Request) -> Library:
    """The library of published runs."""
    return cast(Library, request.app.state.library)


async def get_engine(request: Request) -> Engine:
    """The language model."""
    return cast(Engine, request.app.state.engine)


async def get_verdicts(request: Request) -> VerdictStore:
    """Owners' verdicts on concepts."""
    return cast(VerdictStore, request.app.state.verdicts)


SettingsDep = Annotated[Settings, Depends(get_settings)]
LibraryDep = Annotated[Library, Depends(get_library)]
EngineDep = Annotated[Engine, Depends(get_engine)]
VerdictsDep = Annotated[VerdictStore, Depends(get_verdicts)]


def get_sae(
    model: Annotated[str, Path(description="The language model, e.g. smollm2-135m.")],
    sae: Annotated[str, Path(description="The SAE, e.g. 14-relu-4096.")],
    library: LibraryDep,
) -> OpenSAE:
    """The SAE that the address names."""
    catalogue = library.catalogue()
    found = catalogue.saes.get((model, sae))
    if found is None:
        refuse_left_out(run for run in catalogue.left_out if (model, sae) in run.addresses)
        raise NotFoundError(f"There is no SAE '{model}/{sae}' here. The home page lists those that are.")
    return found


SAEDep = Annotated[OpenSAE, Depends(get_sae)]


async def get_index(
    index: Annotated[str, Path(description="The feature's number in its SAE, from 0.")], sae: SAEDep
) -> int:
    """The feature that the address names: its index within the SAE."""
    if not sae.has(index):
        raise NotFoundError(f"'{sae.name}' has features 0 to {sae.num_features - 1:,}; there is no '{index}'.")
    return int(index)


IndexDep = Annotated[int, Depends(get_index)]


def get_run(
    library: LibraryDep, run: Annotated[str | None, Query(description="Name of the run; the newest by default.")] = None
) -> OpenRun:
    """The run that the query names, or the newest."""
    catalogue = library.catalogue()
    runs = catalogue.runs
    found = next((r for r in runs if run in (None, r.name)), None)
    if found is None:
        refuse_left_out(r for r in catalogue.left_out if run in (None, r.name))
        require_runs(catalogue)
        raise NotFoundError(f"There is no run '{run}' here.")
    return found


RunDep = Annotated[OpenRun, Depends(get_run)]
