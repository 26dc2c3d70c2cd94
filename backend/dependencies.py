"""What endpoints ask for by type."""

from collections.abc import Iterable
from typing import Annotated, cast

from fastapi import Depends, HTTPException, Path, Query, Request

from backend.catalogue import Catalogue, LeftOutRun, Library, OpenRun, OpenSAE
from backend.engine import Engine
from backend.list_store import ListStore
from backend.settings import Settings
from backend.steering_results import Results
from backend.steering_runs import Runs
from backend.stored_prompts import StoredPrompts


async def get_settings(request: Request) -> Settings:
    """The settings that the app was made with."""
    return cast(Settings, request.app.state.settings)


async def get_library(request: Request) -> Library:
    """What is published."""
    return cast(Library, request.app.state.library)


async def get_engine(request: Request) -> Engine:
    """The language model."""
    return cast(Engine, request.app.state.engine)


async def get_lists(request: Request) -> ListStore:
    """The lists that people made."""
    return cast(ListStore, request.app.state.lists)


async def get_prompts(request: Request) -> StoredPrompts:
    """The prompts that are too long for an address."""
    return cast(StoredPrompts, request.app.state.prompts)


async def get_results(request: Request) -> Results:
    """Finished steering."""
    return cast(Results, request.app.state.results)


async def get_runs(request: Request) -> Runs:
    """Steering that goes on."""
    return cast(Runs, request.app.state.runs)


SettingsDep = Annotated[Settings, Depends(get_settings)]
LibraryDep = Annotated[Library, Depends(get_library)]
EngineDep = Annotated[Engine, Depends(get_engine)]
ListsDep = Annotated[ListStore, Depends(get_lists)]
PromptsDep = Annotated[StoredPrompts, Depends(get_prompts)]
ResultsDep = Annotated[Results, Depends(get_results)]
RunsDep = Annotated[Runs, Depends(get_runs)]


def get_sae(
    model: Annotated[str, Path(description="The language model, e.g. smollm2-135m.")],
    sae: Annotated[str, Path(description="The SAE, e.g. 14-relu-4096.")],
    library: LibraryDep,
) -> OpenSAE:
    """The SAE that the address names."""
    catalogue = library.catalogue()
    found = catalogue.saes.get((model, sae))
    if found is None:
        _refuse_left_out(run for run in catalogue.left_out if (model, sae) in run.addresses)
        raise HTTPException(404, f"There is no SAE '{model}/{sae}' here. The home page lists those that are.")
    return found


SAEDep = Annotated[OpenSAE, Depends(get_sae)]


async def get_index(
    index: Annotated[str, Path(description="The feature's number in its SAE, from 0.")], sae: SAEDep
) -> int:
    """The feature that the address names: its index within the SAE."""
    if not sae.has(index):
        raise HTTPException(404, f"'{sae.name}' has features 0 to {sae.num_features - 1:,}; there is no '{index}'.")
    return int(index)


IndexDep = Annotated[int, Depends(get_index)]


def get_run(
    library: LibraryDep, run: Annotated[str | None, Query(description="Name of the run; the newest without.")] = None
) -> OpenRun:
    """The run that the query names, or the newest."""
    catalogue = library.catalogue()
    runs = catalogue.runs
    found = next((r for r in runs if run in (None, r.name)), None)
    if found is None:
        _refuse_left_out(r for r in catalogue.left_out if run in (None, r.name))
        require_runs(catalogue)
        raise HTTPException(404, f"There is no run '{run}' here.")
    return found


def require_runs(catalogue: Catalogue) -> None:
    """Raise an HTTPException that says why there is nothing to show, when there is not."""
    if not catalogue.runs:
        _refuse_left_out(catalogue.left_out)
        raise HTTPException(404, "Nothing is published yet: run `make demo` first.")


def _refuse_left_out(runs: Iterable[LeftOutRun]) -> None:
    """Say of what was asked for that it is published and cannot be shown."""
    for run in runs:
        raise HTTPException(503, run.reason)


RunDep = Annotated[OpenRun, Depends(get_run)]
