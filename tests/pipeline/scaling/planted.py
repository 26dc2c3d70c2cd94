"""Grids whose losses and best learning rates are known."""

import math
from collections.abc import Callable

import numpy as np

from pipeline.recipe.scaling import GridConfig, ScaleConfig
from pipeline.scaling.cells import CellKeys, Measured, Planned, sizes_and_tokens, swept_cells, unique
from pipeline.scaling.laws import Points, Surface
from pipeline.scaling.learning_rates import find_learning_rates
from pipeline.scaling.report import MeasuredGrid

SIZES = tuple(512 * 2**step for step in range(6))
COUNTS = tuple(32_768 * 2**step for step in range(6))
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)
TRUE = Surface(*map(np.float64, (120.0, 900.0, 0.35, 1500.0, 0.40, 0.10)))
WIDTH, BATCH = 576, 512
RATE_SCALE, RATE_EXPONENT = 0.06, -0.4

Loss = Callable[[Planned], float]


def true_points(noise: float, seed: int) -> Points:
    """Every size with every token count, with noise of this share."""
    n, t = (column.ravel() for column in np.meshgrid(np.array(SIZES, float), np.array(COUNTS, float)))
    return Points(n, t, TRUE.loss(n, t) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n))))


def planted_loss(cell: Planned) -> float:
    """By the true law, worse the further the learning rate is from the best one of its size."""
    best = RATE_SCALE * cell.num_features**RATE_EXPONENT
    off = math.log(cell.learning_rate / best)
    return float(TRUE.loss(float(cell.num_features), float(cell.num_tokens))) * (1 + 0.01 * off**2)


def config_of(**changes: object) -> ScaleConfig:
    """One relu grid that is swept at the three smallest sizes."""
    grid: dict[str, object] = {
        "l1_coefficient": 2.5,
        "num_features": SIZES,
        "num_tokens": COUNTS,
        "learning_rates": RATES,
        "sweep_features": SIZES[:3],
        "sweep_tokens": COUNTS[2],
        "held_out": ((SIZES[-1], COUNTS[-1]), (SIZES[2], COUNTS[3])),
    }
    return ScaleConfig(batch_size=BATCH, grids=(GridConfig(**(grid | changes)),))  # type: ignore[arg-type]


def measure(keys: CellKeys, cells: list[Planned], loss: Loss = planted_loss) -> dict[str, Measured]:
    """Cells as if they had been trained; a loss that is not finite has diverged."""
    found = {}
    for key, cell in unique(cells, keys).items():
        value = loss(cell)
        if math.isfinite(value):
            found[key] = Measured(False, "", 2.0, 1.0, value, 0.8 * value, 30.0, 0.7, 0.1, 0.2)
        else:
            found[key] = Measured(True, "It blew up.", 2.0, 1.0)
    return found


def measured_grid(config: ScaleConfig, loss: Loss = planted_loss) -> tuple[MeasuredGrid, CellKeys, dict[str, Measured]]:
    """A grid with all of its cells."""
    keys, grid = CellKeys(config, "rows", 0), config.grids[0]
    measured = measure(keys, list(swept_cells(grid)), loss)
    rates = find_learning_rates(grid, keys, measured)
    cells = [*swept_cells(grid), *(Planned(grid, n, t, *rates.of(n)) for n, t in sizes_and_tokens(grid))]
    return MeasuredGrid(grid, cells, rates), keys, measure(keys, cells, loss)
