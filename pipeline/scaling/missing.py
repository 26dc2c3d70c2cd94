"""Cells that the store lacks, as far as is known before any is trained."""

from collections.abc import Sequence

from pipeline.recipe.scaling import GridConfig
from pipeline.scaling.cells import CellKeys, CellStore, Planned, sizes_and_tokens, swept_cells, unique
from pipeline.scaling.learning_rates import find_learning_rates
from pipeline.scaling.room import Lane

NOT_KNOWN_YET = 0.0
"""Learning rate of cells whose grid must be swept first: no cell has it."""


def missing_lanes(grids: Sequence[GridConfig], keys: CellKeys, store: CellStore) -> list[Lane]:
    """What is still to be trained of some grids: all beside the sweep, where that is not whole."""
    lanes: dict[tuple[GridConfig, int, float], list[int]] = {}
    for grid in grids:
        for key, cell in unique(_foreseen(grid, keys, store), keys).items():
            if store.find(key) is None:
                lanes.setdefault((grid, cell.num_features, cell.learning_rate), []).append(cell.num_tokens)
    return [(size, counts) for (_, size, _), counts in lanes.items()]


def _foreseen(grid: GridConfig, keys: CellKeys, store: CellStore) -> list[Planned]:
    """The cells of a grid."""
    swept = list(swept_cells(grid))
    found = {key: measured for key in unique(swept, keys) if (measured := store.find(key)) is not None}
    pairs = sizes_and_tokens(grid)
    if len(found) < len(unique(swept, keys)):
        return [*swept, *(Planned(grid, size, tokens, NOT_KNOWN_YET, "swept") for size, tokens in pairs)]
    rates = find_learning_rates(grid, keys, found)
    return [*swept, *(Planned(grid, size, tokens, *rates.of(size)) for size, tokens in pairs)]
