"""Advice: which size and how many tokens a budget should buy, by the laws of a grid, and how far that extrapolates."""

from dataclasses import dataclass

from data.artifacts.scaling import GridReport
from data.artifacts.scaling_budgets import Budget
from data.artifacts.scaling_laws import CurvePoint, value_at
from data.errors import ConfigError

ROUND_TO = 64
"""Sizes of advice are multiples of this."""
SECONDS_PER_HOUR = 3600
GPU_FLOPS = 4e14
"""Operations that one GPU does each second while it trains, where nothing else is given: an H100 at two fifths of its
bfloat16 peak."""
FAR = 100.0
"""Advice at more than this many times the compute of the largest cell is a direction, and no measurement."""


@dataclass(frozen=True)
class Advice:
    """What a budget should buy. Curve points are at its FLOPs."""

    flops: float
    features: CurvePoint
    tokens: CurvePoint
    loss: CurvePoint
    extrapolation: float
    """Its FLOPs in units of the most of a cell that the law was fitted to; up to 1 it is no extrapolation."""
    learning_rate: float | None
    """By the law of the learning rates; None without one."""

    @property
    def num_features(self) -> int:
        """The size, rounded."""
        return max(ROUND_TO, round(self.features.value / ROUND_TO) * ROUND_TO)

    @property
    def num_tokens(self) -> int:
        """The tokens, rounded."""
        return round(self.tokens.value)


def advise(grid: GridReport, budget: Budget, *, gpu_flops: float = GPU_FLOPS) -> Advice:
    """Advice for a budget. gpu_flops: operations of a GPU each second.

    Raises ConfigError where the grid has no law, or the budget is far outside what the law can speak of.
    """
    if grid.loss is None or grid.features is None or grid.tokens is None:
        raise ConfigError(f"grid {grid.key} gives no advice. {grid.why_no_loss}")
    loss, features, tokens = (law.curve[:-1] + law.beyond for law in (grid.loss, grid.features, grid.tokens))
    low, high, most = loss[0].x, grid.loss.curve[-1].x, loss[-1].x
    flops = budget_flops(grid, budget, tokens, gpu_flops=gpu_flops)
    at = [point for curve in (features, tokens, loss) if (point := value_at(curve, flops)) is not None]
    if len(at) < 3:
        raise ConfigError(
            f"a budget of {budget} is {flops:.2g} FLOPs: the cells of grid {grid.key} have {low:.2g} to {high:.2g}, "
            f"and their law is not asked about less, or more than {most:.2g}. Choose another budget, or train a grid "
            "nearer to it"
        )
    return Advice(flops, at[0], at[1], at[2], flops / high, _learning_rate(grid, at[0].value))


def budget_flops(grid: GridReport, budget: Budget, tokens: tuple[CurvePoint, ...], *, gpu_flops: float) -> float:
    """FLOPs of a budget: hours by the rate of the grid's cells, tokens as what they are the best number for."""
    if budget.unit == "flops":
        return budget.amount
    if budget.unit == "gpu-hours":
        return budget.amount * SECONDS_PER_HOUR * gpu_flops
    if budget.unit == "hours":
        return budget.amount * SECONDS_PER_HOUR * flops_per_second(grid)
    by_tokens = [CurvePoint(point.value, point.x, point.x, point.x) for point in tokens]
    found = value_at(by_tokens, budget.amount)
    if found is None:
        raise ConfigError(
            f"a budget of {budget} is outside what the law of grid {grid.key} is asked about: {by_tokens[0].x:.2g} to "
            f"{by_tokens[-1].x:.2g} tokens. Choose another budget, or train a grid nearer to it"
        )
    return found.value


def flops_per_second(grid: GridReport) -> float:
    """Of the cell with the most compute that did not diverge, while others ran beside it."""
    cell = max(grid.usable, key=lambda cell: cell.flops)
    return cell.flops / max(cell.seconds, 1e-9)


def _learning_rate(grid: GridReport, num_features: float) -> float | None:
    law = grid.learning_rate
    return None if law is None else float(law.coefficient * num_features**law.exponent.value)
