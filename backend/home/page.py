"""The home page: one question answered twice, one feature explained step by step, and the SAEs of each run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backend.engine.engine import Engine
from backend.home.panel import HomeState, Panel, description_of, panel_of
from backend.html.address import query
from backend.html.figures import Tick
from backend.html.formats import count, number, share
from backend.html.page import Link, Notice, Page
from backend.html.tokens import visible_text
from backend.published.cards import (
    SAE_METRICS,
    RunCard,
    SAECard,
    counts_text,
    loss_note,
    metric_text,
    rare_text,
    run_card,
    sae_card,
    share_or_none,
    tokens_seen,
)
from backend.published.catalogue import Catalogue, OpenRun, OpenSAE
from backend.published.comparison import get_comparison
from backend.published.concepts import completeness_of
from backend.published.features import FeatureSummary
from backend.published.scaling import scaling_of
from backend.published.showpieces import WorkedExample, showpieces, worked_example

Column = tuple[str, str, Callable[[OpenSAE], tuple[str, float | None]]]
"""Title, explanation, and what stands there: text, and the share of a bar."""
EMPTY_EDGE = 0.12
"""Share of the chart between its dots and its edges."""


@dataclass(frozen=True)
class ComparisonCell:
    """A value of an SAE in the comparison."""

    title: str
    """Of its column."""
    text: str
    bar: float | None
    """The value as a share of a bar; None where it has no bar."""


@dataclass(frozen=True)
class ComparisonRow:
    """An SAE in the comparison."""

    sae: SAECard
    cells: list[ComparisonCell]


@dataclass(frozen=True)
class ChartPoint:
    """An SAE on the chart; lengths are shares of it, from the left and from the top."""

    sae: SAECard
    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Chart:
    """A chart of explained variance against L0: up and to the left is better."""

    dots: list[ChartPoint]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class Comparison:
    """The SAEs of a run side by side."""

    run: RunCard
    num_features: int
    counts: list[tuple[str, str]]
    """Name of each SAE, and how many of its features are live, rare, negligible and dead."""
    rare: str
    """What rare means, as a sentence."""
    headings: list[tuple[str, str]]
    """Title and explanation of each column."""
    rows: list[ComparisonRow]
    chart: Chart | None
    """None when fewer than two SAEs were measured."""
    loss_note: str | None
    """Sample that the losses were measured on; None when they were not measured."""
    more: list[Link]
    """Pages that tell more of the run: those with something to tell."""


@dataclass(frozen=True)
class HomePage(Page):
    """home/home.html: one question answered twice, an introduction with an example, and the published SAEs."""

    panel: Panel | None
    """None where no run has a demonstration."""
    description: str
    """For those who share the page."""
    comparisons: list[Comparison]
    """One for each run, the newest first."""
    worked: WorkedExample | None
    starts: list[FeatureSummary]
    """Other features to begin with."""
    notices: list[Notice]
    """Things that cannot be shown or used, and remedies."""


DESCRIPTION = "What a language model keeps in mind: its features, what makes them fire, and what they make it say."


def home_page_of(catalogue: Catalogue, engine: Engine, state: HomeState) -> HomePage:
    """The page's context."""
    newest = catalogue.runs[0] if catalogue.runs else None
    worked = newest.once(worked_example) if newest else None
    panel = panel_of(catalogue, state)
    return HomePage(
        panel=panel,
        description=description_of(panel) if panel else DESCRIPTION,
        comparisons=[run.once(comparison_of) for run in catalogue.runs],
        worked=worked,
        starts=_starts(worked) if worked else [],
        notices=[*_gone(state, panel), *_notices(catalogue, engine)],
    )


def _gone(state: HomeState, panel: Panel | None) -> list[Notice]:
    """A note that the demonstration of the address is not there, if it is not."""
    if not state.demo or (panel and panel.demo.feature.name == state.demo):
        return []
    return [Notice("That demonstration is not here", f"No texts of {visible_text(state.demo)} are stored in this run.")]


def _starts(worked: WorkedExample) -> list[FeatureSummary]:
    """The showpieces, except the worked example."""
    return [piece for piece in showpieces(worked.run) if piece.name != worked.feature.name]


def comparison_of(run: OpenRun) -> Comparison:
    """The SAEs of a run side by side."""
    return Comparison(
        run=run_card(run),
        num_features=sum(sae.num_features for sae in run.saes),
        counts=[(sae.name, text) for sae in run.saes if (text := counts_text(sae, explained=False))],
        rare=rare_text(run),
        headings=[(title, explanation) for title, explanation, _ in COMPARISON_COLUMNS],
        rows=[
            ComparisonRow(sae_card(sae), [_cell(title, value(sae)) for title, _, value in COMPARISON_COLUMNS])
            for sae in run.saes
        ],
        chart=_chart(run.saes),
        loss_note=loss_note(run),
        more=_more(run),
    )


def _more(run: OpenRun) -> list[Link]:
    pages = [
        ("/explore", "See them on one map", True),
        ("/compare", "what is new at each size", len(run.saes) > 1),
        ("/completeness", "which concepts have one of their own", not completeness_of(run).why_none),
        ("/neurons", "whether they are easier to understand than neurons", not get_comparison(run).why_none),
        ("/scaling", "how many features and tokens a budget should buy", bool(scaling_of(run).grids)),
    ]
    return [Link(text, f"{path}{query(run=run.name)}") for path, text, tells in pages if tells]


def _chart(saes: Sequence[OpenSAE]) -> Chart | None:
    measured = [
        (sae, float(sae.record.metrics["l0"]), float(sae.record.metrics["explained_variance"]))
        for sae in saes
        if sae.record.metrics.get("l0") and sae.record.metrics.get("explained_variance") is not None
    ]
    if len(measured) < 2:
        return None
    low, high = _span([math.log(l0) for _, l0, _ in measured], math.log(1.5))
    bottom, top = _span([explained for _, _, explained in measured], 0.02)
    dots = [
        ChartPoint(
            sae=sae_card(sae),
            x=(math.log(l0) - low) / (high - low),
            y=(top - explained) / (top - bottom),
            title=f"{sae.name}: {share(explained)} explained by {number(l0)} features per token",
        )
        for sae, l0, explained in measured
    ]
    x_ticks = [
        Tick((math.log(value) - low) / (high - low), f"{value:g}") for value in _rounds(math.exp(low), math.exp(high))
    ]
    y_ticks = [Tick((top - value / 100) / (top - bottom), f"{value:g}%") for value in _rounds(100 * bottom, 100 * top)]
    return Chart(dots, x_ticks, y_ticks)


def _span(values: Sequence[float], least: float) -> tuple[float, float]:
    """An axis that holds the values with some room, at least `least` wide."""
    middle, width = (max(values) + min(values)) / 2, max(max(values) - min(values), least)
    room = (0.5 + EMPTY_EDGE) * width
    return middle - room, middle + room


def _rounds(low: float, high: float) -> list[float]:
    """Round values between two others, three to six of them."""
    steps = [base * 10.0**power for power in range(-6, 7) for base in (1, 2, 5)]
    step = next(step for step in steps if (high - low) / step <= 6)
    return [float(f"{place * step:.6g}") for place in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _metric(name: str, *, bar: bool = False) -> Column:
    """A column of SAE_METRICS, with a bar where the value is a share."""

    def value(sae: OpenSAE) -> tuple[str, float | None]:
        text, found = metric_text(sae, name), sae.record.metrics.get(name)
        return text or "–", found if bar and found is not None and 0 <= found <= 1 else None

    return *SAE_METRICS[name], value


def _rare(sae: OpenSAE) -> tuple[str, float | None]:
    found = sae.record.metrics.get("num_rare")
    return ("–" if found is None else share_or_none(found / sae.num_features)), None


def _seen(sae: OpenSAE) -> tuple[str, float | None]:
    seen = tokens_seen(sae)
    return ("–" if seen is None else count(seen)), None


COMPARISON_COLUMNS: list[Column] = [
    ("Features", "Directions that the SAE has.", lambda sae: (count(sae.num_features), None)),
    _metric("explained_variance", bar=True),
    _metric("loss_added"),
    _metric("recovered_mean", bar=True),
    _metric("l0"),
    _metric("dead_share"),
    (
        "Rare",
        "Share of the features that are active on too few tokens to tell what they are about; numbers stand below.",
        _rare,
    ),
    ("Tokens seen", "Tokens that it was trained on.", _seen),
]


def _cell(title: str, value: tuple[str, float | None]) -> ComparisonCell:
    return ComparisonCell(title, *value)


def _notices(catalogue: Catalogue, engine: Engine) -> list[Notice]:
    """Runs that are left out, and runs whose model is not available: one notice for each reason."""
    found = [Notice(f"Run '{run.name}' is not shown", f"It {run.why}") for run in catalogue.left_out]
    reasons: dict[str, list[str]] = {}
    for run in catalogue.runs:
        if reason := engine.why_off(run):
            reasons.setdefault(reason, []).append(run.model_name)
    for reason, models in reasons.items():
        found.append(Notice(f"Prompts and steering are off for {', '.join(dict.fromkeys(models))}", reason))
    return found
