"""The cells of a grid: which there are, what names each, and what was measured of it on disk.

A measured cell is a small file in the store, named by all that decides it. So a grid goes on after a kill, takes more
cells at any time, and shares those that another recipe has too.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data.artifacts.scaling import LearningRateFrom
from data.errors import ArtifactError
from data.manifests import digest
from pipeline.recipe.scaling import GridConfig, ScaleConfig

CELL_VERSION = 1
"""Raised when the same cell would be measured otherwise."""


class Planned(NamedTuple):
    """A cell that is asked for."""

    grid: GridConfig
    num_features: int
    num_tokens: int
    """As the recipe has it; whole batches of it are trained on."""
    learning_rate: float
    learning_rate_from: LearningRateFrom

    @property
    def held_out(self) -> bool:
        """Whether no law may be fitted to it."""
        return (self.num_features, self.num_tokens) in self.grid.held_out


@dataclass(frozen=True)
class Measured:
    """What was measured of a cell, see data.artifacts.scaling.Cell. None where it diverged."""

    diverged: bool
    why_diverged: str
    seconds: float
    own_seconds: float
    """Of these, those that it shares with no other token count."""
    loss: float | None = None
    squared_error: float | None = None
    l0: float | None = None
    explained_variance: float | None = None
    dead_share: float | None = None
    rare_share: float | None = None


@dataclass(frozen=True)
class CellKeys:
    """Names cells by all that decides them."""

    config: ScaleConfig
    rows: str
    """Key of the harvest."""
    seed: int

    def num_steps(self, cell: Planned) -> int:
        """Steps of its training."""
        return cell.num_tokens // self.config.batch_size

    def of(self, cell: Planned) -> str:
        """The key of a cell: 16 hexadecimal digits."""
        config, grid = self.config, cell.grid
        objective: dict[str, Any] = {"architecture": grid.architecture, "l1_coefficient": grid.l1_coefficient}
        if grid.architecture == "topk":
            names = ("auxiliary_coefficient", "dead_window")
            objective = {"architecture": "topk", "k": grid.k, **{name: getattr(config, name) for name in names}}
        return digest(
            {
                "version": CELL_VERSION,
                "rows": self.rows,
                "seed": self.seed,
                "batch_size": config.batch_size,
                "warmup_steps": config.warmup_steps,
                "decay_fraction": config.decay_fraction,
                "held_out_tokens": config.held_out_tokens,
                "rare_tokens": config.rare_tokens,
                "objective": objective,
                "num_features": cell.num_features,
                "num_steps": self.num_steps(cell),
                "learning_rate": cell.learning_rate,
            }
        )


class CellStore:
    """What was measured of cells, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Measured | None:
        """The cell, if it was measured. Raises ArtifactError when its file is damaged."""
        path = self._path(key)
        try:
            return Measured(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{path} is damaged ({error}): delete it, and run `monosema scale` again") from None

    def has(self, key: str) -> bool:
        """Whether the cell was measured."""
        return self._path(key).exists()

    def save(self, key: str, measured: Measured) -> None:
        """Write it, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._path(key).with_suffix(".part")
        temporary.write_text(json.dumps(asdict(measured), allow_nan=False) + "\n")
        temporary.replace(self._path(key))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def swept_cells(grid: GridConfig) -> Iterator[Planned]:
    """The cells by which learning rates are found; none where one is given for all sizes."""
    if grid.sweep_tokens is not None:
        for size in grid.sweep_features:
            for rate in sorted(grid.learning_rates):
                yield Planned(grid, size, grid.sweep_tokens, rate, "swept")


def known_cells(grid: GridConfig) -> list[Planned]:
    """The cells whose learning rates the recipe gives: the sweep, or all."""
    if grid.sweep_tokens is not None:
        return list(swept_cells(grid))
    return [Planned(grid, size, tokens, grid.learning_rates[0], "given") for size, tokens in sizes_and_tokens(grid)]


def sizes_and_tokens(grid: GridConfig) -> list[tuple[int, int]]:
    """Every size with every token count, both rising."""
    return [(size, tokens) for size in sorted(grid.num_features) for tokens in sorted(grid.num_tokens)]


def total_seconds(cells: Sequence[Planned], keys: CellKeys, measured: Mapping[str, Measured]) -> float:
    """Time of all steps, those that token counts share counted once, those that ran side by side each for itself."""
    shared: dict[tuple[GridConfig, int, float], float] = {}
    own = 0.0
    for key, cell in unique(cells, keys).items():
        found, lane = measured[key], (cell.grid, cell.num_features, cell.learning_rate)
        shared[lane] = max(shared.get(lane, 0.0), found.seconds - found.own_seconds)
        own += found.own_seconds
    return own + sum(shared.values())


def unique(cells: Sequence[Planned], keys: CellKeys) -> dict[str, Planned]:
    """Cells by key; of equal ones the first."""
    found: dict[str, Planned] = {}
    for cell in cells:
        found.setdefault(keys.of(cell), cell)
    return found
