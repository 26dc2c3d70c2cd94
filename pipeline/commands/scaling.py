"""`monosema scale`: the grids of a run on stdout, the laws that fit them, and advice for a budget."""

import sys
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from data.artifacts.scaling import Cell, GridReport, ScalingReport
from data.artifacts.scaling_advice import FAR, Advice, advise
from data.artifacts.scaling_budgets import Budget, read_budget
from data.artifacts.scaling_laws import AllocationLaw, Interval, LearningRateLaw, LossLaw
from data.errors import ConfigError
from data.layout import RunPaths
from data.manifests import Manifest, require_stage
from pipeline.preflight.disk import TRAINING_BYTES, gigabytes
from pipeline.progress import format_seconds
from pipeline.recipe import ReadRecipe, Recipe
from pipeline.scaling.advised import write_advised_recipe

WIDTH_OF_FILES = 120
"""Columns where there is no terminal."""


class Asked(NamedTuple):
    """What is to be said beside the grids."""

    budget: Budget | None
    write_recipe: Path | None


def check_asked(read: ReadRecipe, budget: str | None, write_recipe: Path | None) -> Asked:
    """The options, read. Raises ConfigError for what cannot be, before anything is trained."""
    if not read.problems and not read.recipe.scale.grids:
        raise ConfigError(
            f"recipe '{read.recipe.name}' asks for no grid: give it [[scale.grids]] as in sample-scaling, or use "
            "--recipe sample-scaling"
        )
    if write_recipe is not None and budget is None:
        raise ConfigError("--write-recipe needs a --budget")
    if write_recipe is not None and write_recipe.exists():
        raise ConfigError(f"{write_recipe} is there already: give another path to --write-recipe")
    return Asked(None if budget is None else read_budget(budget), write_recipe)


def print_scaling(recipe: Recipe, paths: RunPaths, manifest: Manifest, asked: Asked) -> None:
    """Print on stdout what the grids say. Raises ConfigError when no grid can advise on the budget."""
    report = ScalingReport.from_json(manifest.counts)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
    for grid in report.grids:
        console.print(_cell_table(grid, report))
        for line in describe_grid(grid):
            console.print(line, soft_wrap=True, markup=False)
    console.print(f"Trained in {format_seconds(report.seconds)} in all.")
    if asked.budget is not None:
        _print_advice(console, recipe, paths, report, asked.budget, asked.write_recipe)


def _print_advice(
    console: Console, recipe: Recipe, paths: RunPaths, report: ScalingReport, budget: Budget, path: Path | None
) -> None:
    """Advice by each grid that has a law; the first one's recipe is written."""
    problems = []
    for grid in report.grids:
        try:
            advice = advise(grid, budget, gpu_flops=recipe.scale.gpu_flops)
        except ConfigError as error:
            problems.append(str(error))
            continue
        for line in describe_advice(grid, report, budget, advice, recipe.scale.gpu_flops):
            console.print(line, soft_wrap=True, markup=False)
        if path is not None and not path.exists():
            corpus_tokens = require_stage(paths, "tokenize").counts.get("num_corpus_tokens")
            readings = write_advised_recipe(path, recipe, report, grid, advice, corpus_tokens)
            if readings > 1:
                console.print(
                    f"  The corpus has {corpus_tokens:,} tokens: the recipe reads them {readings} times, and a law of "
                    "tokens that are read once says nothing of that. Give it more text.",
                    soft_wrap=True,
                )
            console.print(f"{path} trains it: `monosema run --recipe {path}`", soft_wrap=True, markup=False)
    if problems:
        raise ConfigError("\n".join(problems))


def _cell_table(grid: GridReport, report: ScalingReport) -> Table:
    """Loss by size and token count: of each the best learning rate."""
    counts = sorted({cell.num_tokens for cell in grid.cells})
    table = Table(title=f"{grid.key}: loss on {report.num_held_out_tokens:,} held-out tokens")
    for name in ("features", "learning rate", *(f"{count:,} tok" for count in counts)):
        table.add_column(name, justify="right")
    for size in sorted({cell.num_features for cell in grid.cells}):
        of_size = [cell for cell in grid.cells if cell.num_features == size]
        rates = sorted({f"{cell.learning_rate:.2g}" for cell in of_size if cell.learning_rate_from != "swept"})
        table.add_row(f"{size:,}", ", ".join(rates), *(_best_loss(of_size, count) for count in counts))
    table.caption = "* held out of the fit   x diverged"
    return table


def _best_loss(cells: list[Cell], num_tokens: int) -> str:
    found = [cell for cell in cells if cell.num_tokens == num_tokens]
    losses = [cell.loss for cell in found if cell.loss is not None]
    if not losses:
        return "x" if found else ""
    return f"{min(losses):,.4g}{'*' if found[0].held_out else ''}"


def describe_grid(grid: GridReport) -> list[str]:
    """What a grid says, as lines."""
    diverged = [cell for cell in grid.cells if cell.diverged]
    lines = []
    if diverged:
        lines.append(f"{len(diverged)} of {len(grid.cells)} cells diverged and are in no fit.")
    law = grid.learning_rate
    if law is None:
        lines.append(f"Learning rate: {grid.why_no_learning_rate}")
    else:
        lines.append(
            f"Learning rate: {law.coefficient:.3g} features^{_with_interval(law.exponent)}, swept from "
            f"{law.smallest_swept:,} to {law.largest_swept:,} features, extrapolated to the others."
        )
    if grid.loss is None or grid.features is None or grid.tokens is None:
        return [*lines, grid.why_no_loss]
    return [*lines, *_describe_laws(grid.loss, grid.features, grid.tokens), *_describe_trials(grid)]


def _describe_laws(loss: LossLaw, features: AllocationLaw, tokens: AllocationLaw) -> list[str]:
    return [
        f"Loss = {_with_interval(loss.floor)} + {loss.features_scale.value:.3g} features^-"
        f"{_with_interval(loss.features_exponent)} + {loss.tokens_scale.value:.3g} features^"
        f"{_with_interval(loss.demand)} tokens^-{_with_interval(loss.tokens_exponent)}",
        f"  fitted to {loss.num_cells} cells, which lie {loss.residual_rms:.2%} off it.",
        f"At the best allocation it falls with compute to the power -{_with_interval(loss.exponent)} above the floor; "
        f"the best features grow with {_with_interval(features.exponent)}, the best tokens with "
        f"{_with_interval(tokens.exponent)}.",
    ]


def _describe_trials(grid: GridReport) -> list[str]:
    """Minima of measured curves, and held-out cells."""
    lines = [
        f"At {curve.flops:.2g} FLOPs the measured minimum is at "
        f"{_rounded(curve.minimum.num_features, curve.minimum_features)} features and "
        f"{_rounded(curve.minimum.num_tokens, curve.minimum_tokens)} tokens."
        for curve in grid.iso_curves
        if curve.minimum
    ]
    if grid.predictions:
        inside = sum(one.inside for one in grid.predictions)
        lines.append(f"Held-out cells: {inside} of {len(grid.predictions)} lie within the interval predicted.")
    by_key = {cell.key: cell for cell in grid.cells}
    for one in grid.predictions:
        cell = by_key[one.cell]
        lines.append(
            f"  {cell.num_features:,} features, {cell.num_tokens:,} tokens: predicted {_with_interval(one.predicted)}, "
            f"measured {one.measured:.4g} ({one.error:+.2%})"
        )
    return lines


def describe_advice(
    grid: GridReport, report: ScalingReport, budget: Budget, advice: Advice, gpu_flops: float
) -> list[str]:
    """What a budget should buy, as lines."""
    rate = f", at {gpu_flops:.2g} FLOPs each second of a GPU (scale.gpu_flops)" if budget.unit == "gpu-hours" else ""
    parameters = 2 * report.width * advice.num_features
    lines = [
        f"{budget} ({grid.key}): {advice.flops:.3g} FLOPs{rate}.",
        f"  features  {_at(advice.features.value, advice.features.low, advice.features.high)}: take "
        f"{advice.num_features:,}, which need {gigabytes(parameters * TRAINING_BYTES)} in training",
        f"  tokens    {_at(advice.tokens.value, advice.tokens.low, advice.tokens.high)}",
        f"  loss      {_at(advice.loss.value, advice.loss.low, advice.loss.high)}",
    ]
    if advice.learning_rate is not None and grid.learning_rate is not None:
        lines.append(
            f"  learning rate {advice.learning_rate:.2g}, by its law{_beyond_swept(grid.learning_rate, advice)}"
        )
    if advice.extrapolation <= 1:
        return [*lines, "  Within the compute of the grid's cells: no extrapolation."]
    said = f"  Extrapolated: {advice.extrapolation:,.3g} times the compute of the largest cell that was fitted."
    if advice.extrapolation > FAR:
        said += " So far out it is a direction and no measurement: its intervals hold only if the law does."
    return [*lines, said]


def _beyond_swept(law: LearningRateLaw, advice: Advice) -> str:
    """That a learning rate is extrapolated, where it is."""
    if law.covers(advice.features.value):
        return ""
    return f", extrapolated: it was swept from {law.smallest_swept:,} to {law.largest_swept:,} features"


def _with_interval(found: Interval) -> str:
    return f"{found.value:.4g} [{found.low:.4g}, {found.high:.4g}]"


def _rounded(value: float, found: Interval | None) -> str:
    """A whole number, with its interval where one is known."""
    return f"{value:,.0f}" + (f" [{found.low:,.0f}, {found.high:,.0f}]" if found else "")


def _at(value: float, low: float, high: float) -> str:
    return f"{value:,.4g} [{low:,.4g}, {high:,.4g}]"
