"""Learning rate by size: the best of a sweep at some sizes, and a power law through these for all others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from data.artifacts.scaling import LearningRateFrom, SweptSize
from data.artifacts.scaling_laws import CurvePoint, Interval, LearningRateLaw
from pipeline.recipe.scaling import GridConfig
from pipeline.scaling.cells import CellKeys, Measured, Planned, swept_cells

CONFIDENCE = 0.95
STEPS_PER_OCTAVE = 4
"""Learning rates of a law are rounded to 2^(1/4): a cell is then the same cell after a small change of the law, and
a loss does not feel a tenth of a learning rate."""


@dataclass(frozen=True)
class LearningRates:
    """The learning rate of every size."""

    swept: tuple[SweptSize, ...]
    law: LearningRateLaw | None
    why_none: str
    given: float | None
    """By the recipe, for all."""

    def of(self, num_features: int) -> tuple[float, LearningRateFrom]:
        """That of one size, and where it is from."""
        if self.given is not None:
            return self.given, "given"
        if self.law is not None:
            rate = self.law.coefficient * num_features**self.law.exponent.value
            inside = self.law.smallest_swept <= num_features <= self.law.largest_swept
            return rounded(rate), "law" if inside else "extrapolated"
        nearest = min(self._bests(), key=lambda one: abs(math.log(one[0] / num_features)))
        return rounded(nearest[1]), "swept" if nearest[0] == num_features else "extrapolated"

    def _bests(self) -> list[tuple[int, float]]:
        return [(one.num_features, one.best) for one in self.swept if one.best is not None]


def find_learning_rates(grid: GridConfig, keys: CellKeys, measured: Mapping[str, Measured]) -> LearningRates:
    """The learning rates of a grid, once the cells of its sweep are measured (by key)."""
    if grid.sweep_tokens is None:
        return LearningRates((), None, "The recipe gives one learning rate for all sizes.", grid.learning_rates[0])
    cells: dict[int, list[Planned]] = {}
    for cell in swept_cells(grid):
        cells.setdefault(cell.num_features, []).append(cell)
    swept = tuple(_best_of(cells[size], keys, measured) for size in sorted(cells))
    found = [(one.num_features, one.best) for one in swept if one.best is not None]
    if len(found) >= 2:
        return LearningRates(swept, fit_law(found, sorted(grid.num_features)), "", None)
    if found:
        why = f"Only {found[0][0]:,} features have a best learning rate within those tried: it is used for all sizes."
        return LearningRates(swept, None, why, None)
    rate = _lowest(cells, keys, measured)
    why = (
        "At no size is one of the learning rates tried better than both its neighbours: "
        f"{rate:g}, which has the lowest loss at the most features, is used for all sizes."
    )
    return LearningRates(swept, None, why, rate)


def fit_law(best: Sequence[tuple[int, float]], sizes: Sequence[int]) -> LearningRateLaw:
    """The power law through the best learning rates (features, learning rate) of at least two sizes.

    Least squares of logarithms; intervals by Student's t with two degrees of freedom fewer than there are sizes.
    """
    x, y = np.log(np.array(best, float)).T
    line = stats.linregress(x, y)
    spread = float(((x - x.mean()) ** 2).sum())
    free = len(best) - 2
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, free)) if free else 0.0
    rest = float(((y - line.intercept - line.slope * x) ** 2).sum())
    error = math.sqrt(rest / free) if free else 0.0
    half = quantile * error / math.sqrt(spread)
    curve = []
    for size in sizes:
        at = math.log(size)
        middle = line.intercept + line.slope * at
        reach = quantile * error * math.sqrt(1 / len(best) + (at - x.mean()) ** 2 / spread)
        curve.append(CurvePoint(float(size), *(math.exp(middle + part) for part in (0.0, -reach, reach))))
    slope = float(line.slope)
    swept = [size for size, _ in best]
    exponent = Interval(slope, slope - half, slope + half)
    return LearningRateLaw(math.exp(line.intercept), exponent, tuple(curve), min(swept), max(swept))


def rounded(rate: float) -> float:
    """The nearest of the learning rates that a law may give, to four digits."""
    return float(f"{2 ** (round(STEPS_PER_OCTAVE * math.log2(rate)) / STEPS_PER_OCTAVE):.4g}")


def _best_of(cells: Sequence[Planned], keys: CellKeys, measured: Mapping[str, Measured]) -> SweptSize:
    """The best learning rate of one size, by the minimum of a parabola in logarithms. cells: by learning rate."""
    names = [keys.of(cell) for cell in cells]
    size, tokens = cells[0].num_features, cells[0].num_tokens
    tried = [(cell.learning_rate, measured[name].loss) for cell, name in zip(cells, names, strict=True)]
    usable = [(rate, loss) for rate, loss in tried if loss is not None]
    best, why = _minimum(usable)
    return SweptSize(size, tokens // keys.config.batch_size * keys.config.batch_size, best, why, tuple(names))


def _minimum(tried: Sequence[tuple[float, float]]) -> tuple[float | None, str]:
    """Learning rate of the lowest loss, or why it is not known; tried: (learning rate, loss), by learning rate."""
    if not tried:
        return None, "All of its trainings diverged."
    place = min(range(len(tried)), key=lambda number: tried[number][1])
    if place in (0, len(tried) - 1):
        end = "smallest" if place == 0 else "largest"
        return None, f"The {end} learning rate that did not diverge has the lowest loss: the best one may lie beyond."
    x, y = np.log(np.array(tried[place - 1 : place + 2])).T
    a, b, _ = np.polyfit(x - x[1], y, 2)
    return float(math.exp(x[1] - (b / (2 * a) if a > 0 else 0.0))), ""


def _lowest(cells: Mapping[int, Sequence[Planned]], keys: CellKeys, measured: Mapping[str, Measured]) -> float:
    """Learning rate of the lowest loss at the largest swept size where any is known; else the smallest tried."""
    for size in sorted(cells, reverse=True):
        known = [
            (loss, cell.learning_rate) for cell in cells[size] if (loss := measured[keys.of(cell)].loss) is not None
        ]
        if known:
            return min(known)[1]
    return min(cell.learning_rate for tried in cells.values() for cell in tried)
