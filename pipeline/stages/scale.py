"""Stage `scale`: a grid of small trainings, and the laws that fit them.

Cells that were measured before, by any run of the store, are not trained again. First the sweeps of learning rates are
trained, then, with the learning rates that follow from them, all other cells; each time as many side by side as fit in
memory. No files: the report is the manifest's counts, see data/artifacts/scaling.py.

Shapes: N rows, D width.
"""

import math
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.artifacts.scaling import ScalingReport
from data.errors import ConfigError, CorpusError
from data.manifests import digest
from pipeline.activations.held_out import read_held_out
from pipeline.activations.residuals import MOMENTS_FILE
from pipeline.activations.rows import harvested_rows
from pipeline.evaluation.objective import measure_objective
from pipeline.models.onednn import product_dtype
from pipeline.models.sae import SAEHeader
from pipeline.progress import Progress, log, track
from pipeline.recipe import Recipe
from pipeline.recipe.scaling import UNDECIDING, GridConfig
from pipeline.scaling.cells import (
    CellKeys,
    CellStore,
    Measured,
    Planned,
    sizes_and_tokens,
    swept_cells,
    total_seconds,
    unique,
)
from pipeline.scaling.device import flops_per_second, free_memory
from pipeline.scaling.learning_rates import LearningRates, find_learning_rates
from pipeline.scaling.missing import missing_lanes
from pipeline.scaling.report import MeasuredGrid, report_grid
from pipeline.scaling.room import lane_bytes, memory_problems, missing_hours_problem, pack
from pipeline.stage import Stage, Work
from pipeline.training.architecture import Architecture
from pipeline.training.grid import GridTrainer, GridTraining
from pipeline.training.lane import Ended, Ending, LanePlan
from pipeline.training.relu import ReLU
from pipeline.training.topk import TopK
from pipeline.training.trainee import Normalisation
from pipeline.training.trainer import seed_of

HELD_OUT_VERSION = 1
NONE_ASKED = "The recipe asks for no grid of scaling laws (scale.grids)."


def _work(work: Work) -> dict[str, Any]:
    config = work.recipe.scale
    if not config.grids:
        return ScalingReport(why_none=NONE_ASKED).as_json()
    cells = _Cells(work)
    cells.check_hours()
    cells.measure([cell for grid in config.grids for cell in swept_cells(grid)])
    rates = [find_learning_rates(grid, cells.keys, cells.measured) for grid in config.grids]
    for grid, found in zip(config.grids, rates, strict=True):
        _tell(grid, found)
    planned = [_all_cells(grid, found) for grid, found in zip(config.grids, rates, strict=True)]
    cells.measure([cell for part in planned for cell in part])
    measured = [MeasuredGrid(*parts) for parts in zip(config.grids, planned, rates, strict=True)]
    return cells.report(measured).as_json()


def _all_cells(grid: GridConfig, rates: LearningRates) -> list[Planned]:
    """The swept cells of a grid, then all others."""
    rest = [Planned(grid, size, tokens, *rates.of(size)) for size, tokens in sizes_and_tokens(grid)]
    return [*swept_cells(grid), *rest]


def _tell(grid: GridConfig, rates: LearningRates) -> None:
    """Say which learning rates a grid is trained with."""
    sizes = sorted(grid.num_features)
    log(f"learning rates of {grid.name}: " + ", ".join(f"{size:,} {rates.of(size)[0]:.2g}" for size in sizes))
    if rates.why_none and rates.swept:
        log(f"  {rates.why_none}")


class _Cells:
    """Measured cells by key, and the means to measure more."""

    def __init__(self, work: Work) -> None:
        recipe = work.recipe
        self._work, self._config = work, recipe.scale
        self.keys = CellKeys(recipe.scale, work.inputs["harvest"].key, recipe.seed)
        self.measured: dict[str, Measured] = {}
        self._store = CellStore(work.paths.store.scaling)
        self._reader = harvested_rows(work.paths)
        moments = np.load(work.input_folder("harvest") / MOMENTS_FILE)
        self._normalisation = Normalisation(torch.from_numpy(moments["mean_D"]), float(moments["rms"]))
        if not (math.isfinite(self._normalisation.rms) and self._normalisation.rms > 0):
            raise CorpusError("the activations have no spread around their mean, so there is nothing to learn")

    @cached_property
    def _fits(self) -> bool:
        """True. Raises ConfigError for grids that the device has not the memory for, now that they are trained."""
        device = self._work.recipe.model.device
        if problems := memory_problems(self._config, self._reader.width, free_memory(device)):
            raise ConfigError("; ".join(problems))
        return True

    def check_hours(self) -> None:
        """Raise ConfigError when the cells that the store lacks take longer than they may."""
        lanes, device = missing_lanes(self._config.grids, self.keys, self._store), self._work.recipe.model.device
        largest, width = max((size for size, _ in lanes), default=0), self._reader.width

        def rate() -> float:
            return flops_per_second(self._config.batch_size, width, largest, device)

        if problem := missing_hours_problem(self._config, lanes, width, rate):
            raise ConfigError(problem)

    def measure(self, cells: Sequence[Planned]) -> None:
        """Train and measure those that the store lacks."""
        planned = unique(cells, self.keys)
        self.measured |= {key: found for key in planned if (found := self._store.find(key)) is not None}
        missing = {key: cell for key, cell in planned.items() if key not in self.measured}
        if missing and self._fits:
            log(f"{len(missing):,} of {len(planned):,} cells are not measured yet")
            self._train(missing)

    def report(self, grids: Sequence[MeasuredGrid]) -> ScalingReport:
        """What the measured grids say."""
        config, cells = self._config, [cell for grid in grids for cell in grid.cells]
        return ScalingReport(
            why_none="",
            width=self._reader.width,
            batch_size=config.batch_size,
            warmup_steps=config.warmup_steps,
            decay_fraction=config.decay_fraction,
            num_rows=len(self._reader),
            num_held_out_tokens=len(self._held_out_rows()),
            rare_tokens=config.rare_tokens,
            seconds=round(total_seconds(cells, self.keys, self.measured), 1),
            grids=tuple(report_grid(grid, self.keys, self.measured, self._reader.width) for grid in grids),
        )

    def _train(self, cells: dict[str, Planned]) -> None:
        config, recipe, x_ND = self._config, self._work.recipe, self._held_out()
        training = GridTraining(config.batch_size, config.checkpoint_seconds, recipe.seed, recipe.model.device)
        for plans in self._rounds(self._lanes(cells)):
            trainer = GridTrainer(training, plans, self._reader, self._normalisation, self._work.folder)
            if trainer.restore():
                log(f"going on after step {trainer.step:,} of {trainer.num_steps:,}")
            num_steps = sum(_count_steps(plan, trainer.step) * plan.num_features for plan in plans)
            title = f"scale: {sum(len(plan.endings) for plan in plans)} cells"
            with track(title, num_steps / 1000, "k feature steps") as progress:
                trainer.run(partial(self._take, cells, x_ND), partial(_advance, progress))

    def _rounds(self, plans: list[LanePlan]) -> list[list[LanePlan]]:
        """Lanes that fit into memory side by side: each list is one reading of the shards."""
        batch = self._config.batch_size
        needs = [
            lane_bytes(
                self._config, plan.num_features, [one.num_steps * batch for one in plan.endings], self._reader.width
            )
            for plan in plans
        ]
        memory = free_memory(self._work.recipe.model.device)
        rounds = pack(needs, memory)
        if len(rounds) > 1:
            log(f"{memory / 1e9:.1f} GB of memory are too little for all side by side: {len(rounds)} readings")
        return [[plans[number] for number in numbers] for numbers in rounds]

    def _take(self, cells: dict[str, Planned], x_ND: Tensor, ended: Ended) -> None:
        """Measure one that is trained, and keep what was found."""
        measured = _measure(ended, cells[ended.key], self._config.rare_tokens, x_ND)
        self._store.save(ended.key, measured)
        self.measured[ended.key] = measured

    def _lanes(self, cells: dict[str, Planned]) -> list[LanePlan]:
        """One lane for each objective, size and learning rate."""
        endings: dict[tuple[GridConfig, int, float], list[Ending]] = {}
        for key, cell in cells.items():
            num_steps = self.keys.num_steps(cell)
            ending = Ending(key, num_steps, self._config.decay_steps(num_steps))
            endings.setdefault((cell.grid, cell.num_features, cell.learning_rate), []).append(ending)
        return [
            LanePlan(
                name=f"{grid.name}/{size}/{rate:g}",
                num_features=size,
                learning_rate=rate,
                warmup_steps=self._config.warmup_steps,
                make=partial(make_cell, self._work.recipe, grid, size, self._reader.width),
                endings=tuple(found),
            )
            for (grid, size, rate), found in endings.items()
        ]

    def _held_out(self) -> Tensor:
        """Normalised activations of held-out tokens, the same for all cells [N, D]."""
        x_ND = torch.from_numpy(np.array(self._held_out_rows()))
        return self._normalisation.apply(x_ND.to(self._work.recipe.model.device))

    def _held_out_rows(self) -> npt.NDArray[np.float32]:
        """The same as the model gives them, memory-mapped; it runs where the store has none of this harvest."""
        harvest, tokens = self._work.inputs["harvest"], self._config.held_out_tokens
        key = digest(
            {"version": HELD_OUT_VERSION, "rows": harvest.key, "tokens": tokens, "seed": self._work.recipe.seed}
        )
        path = self._work.paths.store.scaling / f"held-out-{key}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".part.npy")
            np.save(temporary, read_held_out(self._work.recipe, self._work.paths, tokens).numpy())
            temporary.replace(path)
        rows_ND: npt.NDArray[np.float32] = np.load(path, mmap_mode="r")
        return rows_ND


def make_cell(recipe: Recipe, grid: GridConfig, num_features: int, width: int) -> Architecture:
    """The untrained autoencoder of a cell: the same for all learning rates and token counts."""
    device, config = recipe.model.device, recipe.scale
    low, seed = product_dtype(torch.bfloat16, device), seed_of(recipe.seed, f"scale/{num_features}")
    if grid.architecture == "relu":
        return ReLU(num_features, width, l1_coefficient=grid.l1_coefficient, seed=seed, low=low, device=device)
    assert grid.k is not None, "checked where the recipe is made"
    return TopK(
        num_features,
        width,
        k=grid.k,
        auxiliary_coefficient=config.auxiliary_coefficient,
        dead_window=config.dead_window,
        seed=seed,
        low=low,
        device=device,
    )


def _advance(progress: Progress, num_made: int) -> None:
    progress.advance(num_made / 1000)


def _count_steps(plan: LanePlan, done: int) -> int:
    """Steps that a lane still has to make, trunk and all that parts from it."""
    trunk = max(ending.parts_at for ending in plan.endings)
    rest = sum(ending.num_steps - max(done, ending.parts_at) for ending in plan.endings)
    return max(0, trunk - done) + rest


def _measure(ended: Ended, cell: Planned, rare_tokens: int, x_ND: Tensor) -> Measured:
    """The cell on the held-out tokens."""
    if ended.model is None:
        return Measured(True, ended.why_diverged, round(ended.seconds, 3), round(ended.own_seconds, 3))
    header = SAEHeader(
        "", cell.grid.architecture, cell.grid.architecture, cell.num_features, x_ND.shape[1], "", 0, cell.grid.k
    )
    sae = ended.model.fold(header, 1.0, torch.zeros(x_ND.shape[1], dtype=torch.float64))
    lambda_ = cell.grid.l1_coefficient if cell.grid.architecture == "relu" else 0.0
    found = measure_objective(sae, x_ND, l1_coefficient=lambda_, rare_tokens=rare_tokens)
    nothing = float(x_ND.square().sum(1).cpu().double().mean())
    if not found.loss < nothing:
        why = (
            f"Its loss of {found.loss:,.4g} on held-out tokens is not below {nothing:,.4g}, that of no features at all."
        )
        return Measured(True, why, round(ended.seconds, 3), round(ended.own_seconds, 3))
    return Measured(False, "", round(ended.seconds, 3), round(ended.own_seconds, 3), **found._asdict())


def _config(recipe: Recipe) -> dict[str, Any]:
    scale = recipe.scale.model_dump(mode="json", exclude=set(UNDECIDING))
    return {"scale": scale, "device": recipe.model.device}


STAGE = Stage("scale", _work, _config, needs=("fetch", "tokenize", "harvest"), version=2)
run = STAGE.run
