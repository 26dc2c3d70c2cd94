"""The page of an SAE: its features, its training, its files."""

from dataclasses import dataclass
from typing import Any, ClassVar

from backend.features.table import Column, density_link
from backend.html.figures import Bars, density_bars
from backend.html.page import Link, Page, Pager
from backend.html.policies import PLOTS
from backend.published.cards import RunCard, SAECard
from backend.published.catalogue import OpenSAE
from backend.published.selection import FeatureList, Score, Selection
from backend.saes.downloads import Download


@dataclass(frozen=True)
class SAEPage(Page):
    """saes/sae.html: one SAE and its features."""

    policy: ClassVar[str] = PLOTS

    run: RunCard
    sae: SAECard
    tokens_seen: int | None
    """Tokens that it was trained on; None when its curve does not say."""
    siblings: list[Link]
    """The SAEs of the run."""
    selection: Selection
    result: FeatureList
    columns: list[Column]
    pager: Pager
    presets: list[Link]
    """Lists that people often want."""
    scores: list[Score]
    """Those that any of its features has."""
    downloads: list[Download]
    density_bars: Bars | None
    curve_figures: list[tuple[str, dict[str, Any]]]
    """Heading and Plotly figure."""
    recipe: list[tuple[str, str]]
    """What made it, as field and value."""


def density_figure(sae: OpenSAE, selection: Selection) -> Bars | None:
    """How dense its features are, each bar leading to them."""
    histogram = sae.record.metrics.get("density_histogram")
    if not histogram:
        return None
    return density_bars(
        histogram["counts"],
        histogram["log10_edges"],
        lambda low, high: density_link(selection, float(f"{low:.3g}"), float(f"{high:.3g}")),
    )
