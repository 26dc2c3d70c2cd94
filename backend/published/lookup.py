"""Lookup of runs, SAEs and features by name."""

from collections.abc import Iterable

from backend.exceptions import NotFoundError, RefusedError, UnavailableError
from backend.published.catalogue import Catalogue, LeftOutRun, Library, OpenRun, OpenSAE


def find_feature(library: Library, name: str) -> tuple[OpenSAE, int]:
    """SAE and index of `model/sae/index`, also as the end of a whole address. Raises RefusedError."""
    parts = name.strip().partition("?")[0].partition("#")[0].removesuffix("/").split("/")[-3:]
    sae = library.catalogue().saes.get((parts[0], parts[1])) if len(parts) == 3 else None
    if sae is None:
        raise RefusedError(
            f"'{name}' is not the name of a feature here: give model/sae/index, or the address of its page."
        )
    index = parts[2]
    if not sae.has(index):
        raise RefusedError(f"{sae.name} has features 0 to {sae.num_features - 1:,}; there is no '{index}'.")
    return sae, int(index)


def named_saes(library: Library, names: list[str]) -> list[OpenSAE]:
    """SAEs of one run by model/name, each once; the one that reads best in the newest run when none is named.

    Raises NotFoundError for an unknown name, RefusedError when they are of several runs.
    """
    catalogue = library.catalogue()
    require_runs(catalogue)
    found = []
    for name in dict.fromkeys(names or [best_reading(catalogue.runs[0]).href[1:]]):
        model, _, sae = name.partition("/")
        if (model, sae) not in catalogue.saes:
            raise NotFoundError(f"There is no SAE '{name}' here. The home page lists those that are.")
        found.append(catalogue.saes[model, sae])
    if any(sae.run is not found[0].run for sae in found):
        raise RefusedError("All SAEs must be of one run, for they read one layer of one model.")
    return found


def newest_with(catalogue: Catalogue, name: str) -> OpenRun:
    """The newest run that has an SAE of this name. Raises NotFoundError, or the reason why such a run is left out."""
    found = next((run for run in catalogue.runs if any(sae.name == name for sae in run.saes)), None)
    if found is None:
        refuse_left_out(run for run in catalogue.left_out if any(name == sae for _, sae in run.addresses))
        require_runs(catalogue)
        raise NotFoundError(f"There is no SAE '{name}' here. The home page lists those that are.")
    return found


def best_reading(run: OpenRun) -> OpenSAE:
    """The SAE of a run that explains most of the variance of held-out text; the first where that was not measured."""
    return max(run.saes, key=lambda sae: sae.record.metrics.get("explained_variance") or 0.0)


def require_runs(catalogue: Catalogue) -> None:
    """Raise an error with the reason when there are no runs to show."""
    if not catalogue.runs:
        refuse_left_out(catalogue.left_out)
        raise NotFoundError("Nothing is published yet: run `make demo` first.")


def refuse_left_out(runs: Iterable[LeftOutRun]) -> None:
    """Raise UnavailableError for the first of some left-out runs, if any."""
    for run in runs:
        raise UnavailableError(run.reason)
