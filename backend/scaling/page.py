"""The page of scaling laws: the grid of one objective, what was fitted to it, and what that supports."""

from dataclasses import dataclass
from typing import ClassVar

from backend.html.formats import count, number, signed
from backend.html.page import Link, Page
from backend.html.policies import PLOTS
from backend.published.cards import RunCard, run_card
from backend.published.catalogue import OpenRun
from backend.published.scaling import find_grid, main_cells, published_sae, scaling_of
from backend.scaling.address import ScalingState
from backend.scaling.advice import BudgetForm, budget_form
from backend.scaling.figures import (
    SHARES,
    Titled,
    best_figures,
    compute_figure,
    iso_figure,
    metric_figures,
    rate_figures,
    value_text,
)
from backend.scaling.files import TABLES, csv_address
from backend.scaling.wording import (
    RATE_FROM,
    headline,
    headline_range,
    interval,
    law_rows,
    limits,
    objective_sentence,
    objective_title,
    power,
    short,
    size_interval,
    spent,
    supports,
)
from data.artifacts.scaling import Cell, GridReport, Prediction, ScalingReport
from data.artifacts.scaling_laws import Interval, value_at

QUESTION = "How many features, and how many tokens?"
COLUMNS = ("loss", "explained_variance", "l0", *SHARES)


@dataclass(frozen=True)
class CellRow:
    """One autoencoder of the grid, in the table."""

    key: str
    """Names its row: #cell-KEY."""
    num_features: int
    tokens: str
    learning_rate: str
    rate_from: str
    flops: str
    fitted: str
    """By how much its loss differs from the law's; "" where that says nothing of it."""
    metrics: list[str]
    """Of COLUMNS."""
    use: str
    """In the fit, kept out of it, one of several learning rates, diverged."""
    why: str
    """The reason why it diverged; "" when it did not."""
    published: Link | None
    """The published SAE of its size and objective, which was trained apart."""


@dataclass(frozen=True)
class PredictionRow:
    """A cell that was kept out of the fit, against what the law says of it."""

    href: str
    cell: str
    predicted: str
    measured: str
    error: str
    inside: bool


@dataclass(frozen=True)
class MinimumRow:
    """The lowest point of a measured curve of equal compute, with its intervals, and the size by the law."""

    flops: str
    features: str
    tokens: str
    by_law: str


@dataclass(frozen=True)
class Shown:
    """All that is shown of one grid."""

    objectives: list[Link]
    """The page with each grid of the run."""
    objective: str
    """What its loss is, as a sentence."""
    made: str
    """How the grid was made, as a sentence."""
    why_no_loss: str
    """The reason why there is no law; "" when there is one."""
    law: list[tuple[str, str, str]]
    compute: Titled
    iso: Titled | None
    best: list[Titled]
    minima: list[MinimumRow]
    rates: list[Titled]
    why_no_rates: str
    along: list[Link]
    metrics: list[Titled]
    predictions: list[PredictionRow]
    supports: list[str]
    limits: list[str]
    advice: BudgetForm | None
    """None without a law."""
    key: str
    cells: list[CellRow]
    rare_tokens: int
    files: list[Link]


@dataclass(frozen=True)
class ScalingPage(Page):
    """scaling/scaling.html: how loss falls with size, tokens and compute."""

    policy: ClassVar[str] = PLOTS

    run: RunCard
    runs: list[Link]
    """Runs that have a grid, where there are several."""
    headline: str
    headline_range: str
    """How sure that is, and over which range of compute it was measured; "" without a law."""
    why_none: str
    """The reason why there is no grid; "" when there is one."""
    shown: Shown | None


def scaling_page_of(run: OpenRun, runs: list[OpenRun], state: ScalingState) -> ScalingPage:
    """The page's context. Raises NotFoundError for a grid that there is not."""
    report = scaling_of(run)
    links = [Link(one.name, ScalingState(run=one.name).href(), one is run) for one in runs]
    links = links if len(links) > 1 else []
    if report.why_none or not report.grids:
        why = report.why_none or "No grid was finished in this run."
        return ScalingPage(run_card(run), links, QUESTION, "", why, None)
    grid = find_grid(run, state.objective)
    sure = headline_range(grid, main_cells(grid))
    return ScalingPage(run_card(run), links, headline(grid), sure, "", _shown(run, report, grid, state))


def _shown(run: OpenRun, report: ScalingReport, grid: GridReport, state: ScalingState) -> Shown:
    cells, state = main_cells(grid), state.changed(run=run.name, objective=grid.key)
    return Shown(
        objectives=[Link(objective_title(one), state.href(objective=one.key), one is grid) for one in report.grids],
        objective=objective_sentence(grid),
        made=_made(report, grid),
        why_no_loss=grid.why_no_loss,
        law=law_rows(grid.loss) if grid.loss else [],
        compute=compute_figure(grid, cells),
        iso=iso_figure(grid, cells),
        best=best_figures(grid, cells),
        minima=_minimum_rows(grid),
        rates=rate_figures(grid),
        why_no_rates=grid.why_no_learning_rate,
        along=[
            Link(title, state.href(along=along) + "#metrics", state.along == along)
            for along, title in (("tokens", "Along tokens"), ("features", "Along features"))
        ],
        metrics=metric_figures(cells, state.along),
        predictions=[_prediction_row(one, grid) for one in grid.predictions],
        supports=supports(grid, cells),
        limits=limits(report, grid, cells),
        advice=budget_form(grid, state.budget) if grid.loss else None,
        key=grid.key,
        cells=[_row(run, grid, cell, cells) for cell in grid.cells],
        rare_tokens=report.rare_tokens,
        files=[Link(title, csv_address(run, grid, name)) for name, title in TABLES.items()],
    )


def _made(report: ScalingReport, grid: GridReport) -> str:
    return (
        f"{len(grid.cells)} autoencoders on activations of width {report.width}, in batches of "
        f"{count(report.batch_size)}, from {count(report.num_rows)} different tokens; all measured on the same "
        f"{count(report.num_held_out_tokens)} held-out tokens. Cell by cell, training took {spent(report.seconds)}."
    )


def _minimum_rows(grid: GridReport) -> list[MinimumRow]:
    return [
        MinimumRow(
            flops=power(curve.flops),
            features=size_interval(curve.minimum.num_features, curve.minimum_features),
            tokens=size_interval(curve.minimum.num_tokens, curve.minimum_tokens),
            by_law=_by_law(grid, curve.flops),
        )
        for curve in grid.iso_curves
        if curve.minimum
    ]


def _by_law(grid: GridReport, flops: float) -> str:
    """The best size by the law; a dash where there is none, or it does not reach there."""
    found = value_at(grid.features.curve, flops) if grid.features else None
    return size_interval(found.value, Interval(found.value, found.low, found.high)) if found else "–"


def _prediction_row(one: Prediction, grid: GridReport) -> PredictionRow:
    cell = next(cell for cell in grid.cells if cell.key == one.cell)
    return PredictionRow(
        href=f"#cell-{cell.key}",
        cell=f"{count(cell.num_features)} features, {short(cell.num_tokens)} tokens",
        predicted=interval(one.predicted, 4),
        measured=number(one.measured, 4),
        error=f"{signed(100 * one.error, 1)}%",
        inside=one.inside,
    )


def _row(run: OpenRun, grid: GridReport, cell: Cell, main: list[Cell]) -> CellRow:
    sae = published_sae(run, grid, cell.num_features)
    residual = "" if cell.residual is None else f"{signed(100 * cell.residual, 1)}%"
    return CellRow(
        key=cell.key,
        num_features=cell.num_features,
        tokens=short(cell.num_tokens),
        learning_rate=f"{cell.learning_rate:.2g}",
        rate_from=RATE_FROM[cell.learning_rate_from],
        flops=power(cell.flops),
        fitted=residual,
        metrics=[value_text(cell, name) for name in COLUMNS],
        use=_use(cell, is_main=cell in main, has_law=grid.loss is not None),
        why=cell.why_diverged,
        published=Link(sae.name, sae.href) if sae else None,
    )


def _use(cell: Cell, *, is_main: bool, has_law: bool) -> str:
    if cell.diverged:
        return "diverged"
    if not is_main:
        return "another rate"
    return "kept out" if cell.held_out else "in the fit" if has_law else "shown"
