"""The page of sizes: the features of a larger SAE that are new, and their distribution."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.html.address import query
from backend.html.page import Link, Page, Pager
from backend.published.cards import RunCard, SAECard, kinds_text, run_card, sae_card
from backend.published.catalogue import OpenRun, OpenSAE
from backend.splitting.address import CompareState
from backend.splitting.sizes import (
    NewFeatureOrder,
    NewFeatures,
    by_size,
    count_new,
    count_new_in_none,
    distributions,
    num_counted,
    smaller_than,
)
from data.artifacts.features import COSINE_BINS

CHART_WIDTH, CHART_HEIGHT = 100, 34
NEW_FEATURE_ORDERS: dict[NewFeatureOrder, str] = {
    "max": "strongest",
    "density": "most frequent",
    "cosine": "least alike",
}
ALL_SMALLER = "smaller"
"""Stands for all smaller SAEs, where one is chosen."""


# ---- all features of a run


@dataclass(frozen=True)
class SizeCell:
    """One SAE seen from another."""

    heading: str
    count: int
    """Features without a relative there."""
    share: float
    """Of those counted."""
    href: str
    """Lists them."""
    current: bool
    below: str
    """Path of the part of the distribution that lies below the threshold."""
    above: str
    smaller: bool
    """Whether the other SAE is smaller: the features are new at this size."""


@dataclass(frozen=True)
class SizeRow:
    """One SAE and how its features relate to those of all others."""

    card: SAECard
    num_counted: int
    cells: list[SizeCell | None]
    """In the order of the columns; None for itself."""
    new: SizeCell | None
    """Against all smaller ones; None for the smallest."""


@dataclass(frozen=True)
class SizesPage(Page):
    """splitting/sizes.html: what is new at each size, with counts and lists."""

    run: RunCard
    threshold: float
    columns: list[SAECard]
    rows: list[SizeRow]
    minor: bool
    """Whether rare and negligible features count too."""
    switch: str
    """The address at which they do, or no longer do."""
    kinds: str
    """What rare and negligible mean."""
    chart: tuple[int, int]
    """Width and height of a distribution."""
    sae: SAECard
    """The SAE whose new features are listed."""
    other: str
    """Name of the SAE that lacks them, or ALL_SMALLER."""
    against: str
    """The same in words."""
    result: NewFeatures
    order: NewFeatureOrder
    orders: list[Link]
    """Orders to sort them by."""
    pager: Pager
    runs: list[Link]


def sizes_page_of(sae: OpenSAE, state: CompareState, result: NewFeatures, runs: Sequence[OpenRun]) -> SizesPage:
    """The page's context. state: with the run, `sae` and the other one named."""
    run, ordered = sae.run, by_size(sae.run)
    return SizesPage(
        run=run_card(run),
        threshold=state.t,
        columns=[sae_card(other) for other in ordered],
        rows=[_row(one, ordered, state) for one in ordered],
        minor=state.minor,
        switch=state.href(minor=not state.minor),
        kinds=kinds_text(run),
        chart=(CHART_WIDTH, CHART_HEIGHT),
        sae=sae_card(sae),
        other=state.other,
        against=f"any of the smaller {', '.join(one.name for one in smaller_than(sae))}"
        if state.other == ALL_SMALLER
        else state.other,
        result=result,
        order=state.order,
        orders=[
            Link(text, state.href(order=name) + "#new", name == state.order)
            for name, text in NEW_FEATURE_ORDERS.items()
        ],
        pager=Pager.at(result.page, result.per_page, result.total, lambda page: state.href(page=page) + "#new"),
        runs=[Link(f"{r.model_name}, {r.name}", f"/compare{query(run=r.name)}", r is run) for r in runs],
    )


def _row(sae: OpenSAE, ordered: Sequence[OpenSAE], state: CompareState) -> SizeRow:
    place, minor = sae.record.position, state.minor
    counted = num_counted(sae.run, minor=minor)[place]
    counts_SS = count_new(sae.run, state.t, minor=minor)
    counts_SSC = distributions(sae.run, minor=minor)
    cells: list[SizeCell | None] = []
    for other in ordered:
        to = other.record.position
        charts = _chart(counts_SSC[place, to].tolist(), state.t)
        cells.append(None if other is sae else _cell(sae, other, int(counts_SS[place, to]), counted, charts, state))
    smaller = smaller_than(sae)
    new = None
    if smaller:
        count = count_new_in_none(sae, smaller, state.t, minor=minor)
        new = _cell(sae, None, count, counted, ("", ""), state)
    return SizeRow(sae_card(sae), counted, cells, new)


def _cell(
    sae: OpenSAE, other: OpenSAE | None, count: int, counted: int, charts: tuple[str, str], state: CompareState
) -> SizeCell:
    named = other.name if other else ALL_SMALLER
    return SizeCell(
        heading=named,
        count=count,
        share=count / max(counted, 1),
        href=state.href(sae=sae.name, other=named) + "#new",
        current=(sae.name, named) == (state.sae, state.other),
        below=charts[0],
        above=charts[1],
        smaller=other is None or other.num_features < sae.num_features,
    )


def _chart(counts: Sequence[int], threshold: float) -> tuple[str, str]:
    """Paths of the bars below and above the threshold: two hundredths of cosine each, from 0 to 1, lower ones at 0."""
    half = COSINE_BINS // 2
    from_zero = list(counts[half:])
    from_zero[0] += sum(counts[:half])
    bars = [from_zero[i] + from_zero[i + 1] for i in range(0, half, 2)]
    peak, width = max(*bars, 1), CHART_WIDTH / len(bars)
    paths = ["", ""]
    for i, bar in enumerate(bars):
        if bar:
            height = max(0.5, CHART_HEIGHT * bar / peak)
            path = f"M{i * width:g} {CHART_HEIGHT}v{-height:.2f}h{width:g}v{height:.2f}z"
            paths[i * 2 >= round(threshold * half)] += path
    return paths[0], paths[1]
