"""The grid of scaling laws of a run, see data/artifacts/scaling.py."""

from collections.abc import Sequence

from backend.exceptions import NotFoundError
from backend.published.catalogue import OpenRun, OpenSAE
from data.artifacts.scaling import Cell, GridReport, ScalingReport

NOT_MEASURED = "No grid of sizes and token counts was trained in this run: monosema scale trains one."


def scaling_of(run: OpenRun) -> ScalingReport:
    """What was found of a run; `why_none` says why there is nothing."""
    return run.once(_read)


def _read(run: OpenRun) -> ScalingReport:
    raw = run.record.corpus.get("scale")
    return ScalingReport.from_json(raw) if raw else ScalingReport(why_none=NOT_MEASURED)


def scaled_runs(runs: Sequence[OpenRun]) -> list[OpenRun]:
    """Those that have a grid."""
    return [run for run in runs if scaling_of(run).grids]


def find_grid(run: OpenRun, key: str) -> GridReport:
    """The grid of an objective, the first of the run for "". Raises NotFoundError."""
    grids = scaling_of(run).grids
    found = next((grid for grid in grids if key in ("", grid.key)), None)
    if found is None:
        names = ", ".join(grid.key for grid in grids)
        raise NotFoundError(f"There is no grid '{key}' in run '{run.name}'; those that there are: {names or 'none'}.")
    return found


def main_cells(grid: GridReport) -> list[Cell]:
    """Of each size and token count the cell of lowest loss: what is in the fit, or held out of it."""
    best: dict[tuple[int, int], Cell] = {}
    for cell in sorted(grid.usable, key=lambda cell: cell.loss or 0.0):
        best.setdefault((cell.num_features, cell.num_tokens), cell)
    return [cell for cell in grid.cells if best.get((cell.num_features, cell.num_tokens)) is cell]


def published_sae(run: OpenRun, grid: GridReport, num_features: int) -> OpenSAE | None:
    """The SAE of the run that has a grid's objective and this size."""
    for sae in run.saes:
        config = sae.record.config
        same = sae.record.architecture == grid.architecture and sae.num_features == num_features
        if same and (config.get("k") == grid.k if grid.k else config.get("l1_coefficient") == grid.l1_coefficient):
            return sae
    return None
