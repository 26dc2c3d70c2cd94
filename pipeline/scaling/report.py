"""The report of a grid, from its measured cells."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from data.artifacts.scaling import Cell, GridReport, Prediction
from pipeline.recipe.scaling import GridConfig
from pipeline.scaling.allocation import allocation_law, iso_curves, loss_law
from pipeline.scaling.cells import CellKeys, Measured, Planned, unique
from pipeline.scaling.flops import flops_per_step
from pipeline.scaling.laws import Fit, Points, Surface, fit_loss, why_too_few
from pipeline.scaling.learning_rates import LearningRates


class MeasuredGrid(NamedTuple):
    """A grid whose cells are all measured."""

    config: GridConfig
    cells: Sequence[Planned]
    rates: LearningRates


def report_grid(grid: MeasuredGrid, keys: CellKeys, measured: Mapping[str, Measured], width: int) -> GridReport:
    """All that a grid says. measured: by key; width: D of what is read."""
    cells = make_cells(grid.cells, keys, measured, width)
    points, per_pair = _points([cell for cell in cells if cell.in_fit]), flops_per_step(1, width, 1)
    fit = why_too_few(points) or fit_loss(points, keys.seed)
    why, law = (fit, None) if isinstance(fit, str) else ("", fit)
    return GridReport(
        architecture=grid.config.architecture,
        l1_coefficient=grid.config.l1_coefficient if grid.config.architecture == "relu" else None,
        k=grid.config.k,
        cells=tuple(_fitted(cell, law) for cell in cells),
        swept=grid.rates.swept,
        learning_rate=grid.rates.law,
        why_no_learning_rate=grid.rates.why_none,
        loss=loss_law(law, points, per_pair) if law else None,
        features=allocation_law(law, points, per_pair, Surface.best_features) if law else None,
        tokens=allocation_law(law, points, per_pair, Surface.best_tokens) if law else None,
        why_no_loss=why,
        iso_curves=iso_curves(points, per_pair, keys.seed),
        predictions=tuple(_predict(cell, law, keys.seed) for cell in _best_held_out(cells)) if law else (),
    )


def make_cells(
    planned: Sequence[Planned], keys: CellKeys, measured: Mapping[str, Measured], width: int
) -> tuple[Cell, ...]:
    """The cells by size, token count and learning rate; of each size and token count the best is in the fit."""
    cells = [_cell(key, cell, keys, measured[key], width) for key, cell in unique(planned, keys).items()]
    best = {cell.key for cell in _best_of_pairs(cells) if not cell.held_out}
    ordered = sorted(cells, key=lambda cell: (cell.num_features, cell.num_tokens, cell.learning_rate))
    return tuple(replace(cell, in_fit=cell.key in best) for cell in ordered)


def _cell(key: str, planned: Planned, keys: CellKeys, measured: Measured, width: int) -> Cell:
    num_steps, batch_size = keys.num_steps(planned), keys.config.batch_size
    return Cell(
        key=key,
        num_features=planned.num_features,
        num_tokens=num_steps * batch_size,
        learning_rate=planned.learning_rate,
        learning_rate_from=planned.learning_rate_from,
        num_steps=num_steps,
        flops=num_steps * flops_per_step(batch_size, width, planned.num_features),
        held_out=planned.held_out,
        in_fit=False,
        fitted=None,
        residual=None,
        **{name: value for name, value in vars(measured).items() if name != "own_seconds"},
    )


def _best_of_pairs(cells: Sequence[Cell]) -> list[Cell]:
    """Of each size and token count the cell with the lowest loss, where one did not diverge."""
    best: dict[tuple[int, int], Cell] = {}
    for cell in cells:
        pair = (cell.num_features, cell.num_tokens)
        if cell.loss is not None and (pair not in best or cell.loss < (best[pair].loss or np.inf)):
            best[pair] = cell
    return list(best.values())


def _best_held_out(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in _best_of_pairs(cells) if cell.held_out]


def _points(cells: Sequence[Cell]) -> Points:
    columns = (
        [cell.num_features for cell in cells],
        [cell.num_tokens for cell in cells],
        [cell.loss for cell in cells],
    )
    return Points(*(np.array(column, float) for column in columns))


def _fitted(cell: Cell, fit: Fit | None) -> Cell:
    """The cell with what the law says of it."""
    if fit is None or cell.loss is None or not (cell.in_fit or cell.held_out):
        return cell
    fitted = float(fit.surface.loss(float(cell.num_features), float(cell.num_tokens)))
    return replace(cell, fitted=fitted, residual=cell.loss / fitted - 1)


def _predict(cell: Cell, fit: Fit, seed: int) -> Prediction:
    assert cell.loss is not None, "cells that diverged are no test"
    found = fit.predict(float(cell.num_features), float(cell.num_tokens), seed)
    return Prediction(
        cell=cell.key,
        predicted=found,
        measured=cell.loss,
        error=cell.loss / found.value - 1,
        inside=found.low <= cell.loss <= found.high,
    )
