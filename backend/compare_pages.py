"""The pages of feature splitting: one family drawn together, as a tree and side by side; and the counts per size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

from backend.cards import run_card, sae_card
from backend.catalogue import OpenRun, OpenSAE
from backend.contexts import Link, Page, Pager, RunCard, SAECard
from backend.queries import FeatureSummary
from backend.splitting import (
    Count,
    Family,
    NewFeatures,
    Order,
    Relative,
    by_size,
    count_new,
    count_new_in_none,
    distributions,
    num_live,
    smaller_than,
)
from backend.templates import query
from data.records import COSINE_BINS

PANEL_WIDTH, PANEL_HEIGHT, MARGIN = 420, 250, 30
LABEL_LETTERS = 24
LETTER, LINE = 7.0, 16
"""Room that a letter of a label takes, and a line."""
CHART_WIDTH, CHART_HEIGHT = 100, 34
ORDERS: dict[Order, str] = {"max": "strongest", "density": "most frequent", "cosine": "least alike"}
ALL_SMALLER = "smaller"
"""Stands for all smaller SAEs, where one is chosen."""


# ---- one family


@dataclass(frozen=True)
class Dot:
    """A feature in a panel, in the panel's own units."""

    x: float
    y: float
    own: bool
    """Whether it is of the panel's SAE."""
    focus: bool
    series: int
    title: str
    href: str


@dataclass(frozen=True)
class Label:
    """A text beside a dot."""

    x: float
    y: float
    anchor: str
    text: str
    focus: bool


@dataclass(frozen=True)
class Panel:
    """The family with the features of one SAE standing out."""

    card: SAECard
    dots: list[Dot]
    """Of other SAEs first, so that its own lie on top."""
    labels: list[Label]
    about: str
    """How many of its features there are, in words."""


@dataclass(frozen=True)
class Branch:
    """A feature of the tree and those that come from it in larger sizes."""

    member: Relative
    card: SAECard
    href: str
    """Its own family."""
    children: list["Branch"]


@dataclass(frozen=True)
class Generation:
    """The members of one SAE."""

    card: SAECard
    branches: list[Branch]
    about: str


@dataclass(frozen=True)
class Nearest:
    """What is nearest to a feature without relatives."""

    text: str
    href: str
    """Shows it as a relative."""


@dataclass(frozen=True)
class ComparePage(Page):
    """splitting/family.html: one feature's relatives in every size."""

    run: RunCard
    sae: SAECard
    feature: FeatureSummary
    family: Family
    summary: str
    """How many relatives there are and are shown; "" without any."""
    nearest: Nearest | None
    """In place of relatives, when there are none but near ones."""
    panels: list[Panel]
    roots: list[Branch]
    generations: list[Generation]
    titles: dict[int, str]
    """Of the members by number."""
    size: tuple[int, int]
    """Width and height of a panel."""


def family_href(name: str, threshold: float) -> str:
    """Address of a feature's family."""
    return f"/compare?f={name}&t={threshold:g}"


def compare_page(sae: OpenSAE, family: Family) -> ComparePage:
    """The page's context."""
    cards = {other.name: sae_card(other) for other in sae.run.saes}
    branches = _branches(family, cards)
    members = family.members
    return ComparePage(
        run=run_card(sae.run),
        sae=cards[sae.name],
        feature=family.focus.specimen.feature,
        family=family,
        summary=_summary(family),
        nearest=_nearest(family),
        panels=[_panel(other, cards, family) for other in by_size(sae.run)],
        roots=[branches[member.number] for member in members if member.parent is None],
        generations=[
            Generation(
                cards[other.name], [branches[m.number] for m in members if m.sae is other], _about(family, other)
            )
            for other in by_size(sae.run)
        ],
        titles={member.number: member.specimen.feature.title for member in members},
        size=(PANEL_WIDTH, PANEL_HEIGHT),
    )


def _branches(family: Family, cards: dict[str, SAECard]) -> dict[int, Branch]:
    found = {
        m.number: Branch(m, cards[m.sae.name], family_href(m.specimen.feature.name, family.threshold), [])
        for m in family.members
    }
    for member in family.members:
        if member.parent is not None:
            found[member.parent].children.append(found[member.number])
    return found


def _summary(family: Family) -> str:
    shown, total = len(family.members) - 1, family.total
    if not total.number:
        return ""
    if shown == total.number:
        return f"{shown} relative{'s' * (shown != 1)}"
    return f"{shown} of {_all(total)} relatives, the nearest in each size"


def _about(family: Family, sae: OpenSAE) -> str:
    """How many features of an SAE are in a family, in words."""
    count = family.counts[sae.name]
    shown = sum(member.sae is sae and not member.focus for member in family.members)
    number = f"{shown}" if shown == count.number else f"the {shown} nearest of {_all(count)}"
    parts = ["this one"] * (family.focus.sae is sae) + [number] * bool(count.number)
    text = " and ".join(parts) or "none"
    return text if text == "this one" else f"{text} at or above {family.threshold:.2f}"


def _all(count: Count) -> str:
    return f"{'' if count.complete else 'at least '}{count.number}"


def _nearest(family: Family) -> Nearest | None:
    node = family.nearest
    if family.total.number or node is None:
        return None
    lower = max(0.0, math.floor(100 * node.cosine) / 100)
    where = f"{node.sae.name} / {node.row - node.sae.row(0)}"
    return Nearest(f"{where}, at {node.cosine:.3f}", family_href(family.focus.specimen.feature.name, lower))


def _panel(sae: OpenSAE, cards: dict[str, SAECard], family: Family) -> Panel:
    places = _scaled([(member.x, member.y) for member in family.members])
    dots = [
        Dot(
            *place, member.sae is sae, member.focus, member.sae.record.position, _title(member),
            family_href(member.specimen.feature.name, family.threshold),
        )
        for member, place in zip(family.members, places, strict=True)
    ]  # fmt: skip
    dots.sort(key=lambda dot: (dot.own, dot.focus))
    own = [(m, place) for m, place in zip(family.members, places, strict=True) if m.sae is sae]
    labels = _labels(sorted(own, key=lambda one: (not one[0].focus, -one[0].cosine)), dots)
    return Panel(cards[sae.name], dots, labels, _about(family, sae))


def _title(member: Relative) -> str:
    feature = member.specimen.feature
    where = f"{feature.sae} / {feature.index}"
    return f"{feature.title} ({where})" + ("" if member.focus else f", cosine {member.cosine:.2f}")


def _scaled(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Places within a panel, both axes on one scale, the middle in the middle."""
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*places, strict=True))
    room = (PANEL_WIDTH - 2 * MARGIN) / max(right - left, 1e-9), (PANEL_HEIGHT - 2 * MARGIN) / max(high - low, 1e-9)
    scale = min(*room, PANEL_WIDTH)
    return [
        (
            round(PANEL_WIDTH / 2 + scale * (x - (left + right) / 2), 1),
            round(PANEL_HEIGHT / 2 - scale * (y - (low + high) / 2), 1),
        )
        for x, y in places
    ]


def _labels(members: Sequence[tuple[Relative, tuple[float, float]]], dots: Sequence[Dot]) -> list[Label]:
    """Labels beside their dots, the first ones first; one that would lie on a dot or a label is left out."""
    taken = [_around(dot) for dot in dots]
    standing_out = [_around(dot) for dot in dots if dot.own]
    found: list[Label] = []
    for member, (x, y) in members:
        title = member.specimen.feature.title
        text = title if len(title) <= LABEL_LETTERS else title[: LABEL_LETTERS - 1].rstrip() + "…"
        for place in ((x + 10, y + 4, "start"), (x - 10, y + 4, "end"), (x, y - 13, "middle"), (x, y + 21, "middle")):
            label = Label(*place, text, member.focus)
            box = _box(label)
            inside = box[0] >= 0 and box[1] >= 0 and box[2] <= PANEL_WIDTH and box[3] <= PANEL_HEIGHT
            # The feature that the page is about comes first and may lie on grey dots.
            if inside and not any(_overlap(box, other) for other in (standing_out if member.focus else taken)):
                found.append(label)
                taken.append(box)
                break
    return found


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def _around(dot: Dot) -> Box:
    radius = 8 if dot.focus else 6 if dot.own else 3
    return dot.x - radius, dot.y - radius, dot.x + radius, dot.y + radius


def _box(label: Label) -> Box:
    width = LETTER * sum(1 + (east_asian_width(letter) in "WF") for letter in label.text)
    left = label.x - width * {"start": 0, "middle": 0.5, "end": 1}[label.anchor]
    return left, label.y - LINE + 4, left + width, label.y + 4


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


# ---- all features of a run


@dataclass(frozen=True)
class Cell:
    """One SAE seen from another."""

    heading: str
    count: int
    """Features without a relative there."""
    share: float
    """Of the live ones."""
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
    num_live: int
    cells: list[Cell | None]
    """In the order of the columns; None for itself."""
    new: Cell | None
    """Against all smaller ones; None for the smallest."""


@dataclass(frozen=True)
class SplittingPage(Page):
    """splitting/sizes.html: what is new at each size, with counts and lists."""

    run: RunCard
    threshold: float
    columns: list[SAECard]
    rows: list[SizeRow]
    chart: tuple[int, int]
    """Width and height of a distribution."""
    sae: SAECard
    """Whose new features are listed."""
    other: str
    """Name of the SAE that lacks them, or ALL_SMALLER."""
    against: str
    """The same in words."""
    result: NewFeatures
    order: Order
    orders: list[Link]
    """Ways to sort them."""
    pager: Pager
    runs: list[Link]


@dataclass(frozen=True)
class Chosen:
    """What the address of the page says."""

    threshold: float
    sae: OpenSAE
    other: str
    order: Order


def splitting_page(run: OpenRun, chosen: Chosen, result: NewFeatures, runs: Sequence[OpenRun]) -> SplittingPage:
    """The page's context."""
    threshold = chosen.threshold
    ordered = by_size(run)
    return SplittingPage(
        run=run_card(run),
        threshold=threshold,
        columns=[sae_card(other) for other in ordered],
        rows=[_row(sae, ordered, chosen) for sae in ordered],
        chart=(CHART_WIDTH, CHART_HEIGHT),
        sae=sae_card(chosen.sae),
        other=chosen.other,
        against=f"any of the smaller {', '.join(o.name for o in smaller_than(chosen.sae))}"
        if chosen.other == ALL_SMALLER
        else chosen.other,
        result=result,
        order=chosen.order,
        orders=[Link(text, _href(chosen, order=name) + "#new", name == chosen.order) for name, text in ORDERS.items()],
        pager=_pager(chosen, result),
        runs=[Link(f"{r.record.model}, {r.name}", f"/compare{query(run=r.name)}", r is run) for r in runs],
    )


def _row(sae: OpenSAE, ordered: Sequence[OpenSAE], chosen: Chosen) -> SizeRow:
    live, place = num_live(sae.run)[sae.record.position], sae.record.position
    counts_SS, counts_SSC = count_new(sae.run, chosen.threshold), distributions(sae.run)
    cells: list[Cell | None] = []
    for other in ordered:
        to = other.record.position
        charts = _chart(counts_SSC[place, to].tolist(), chosen.threshold)
        cells.append(None if other is sae else _cell(sae, other, int(counts_SS[place, to]), live, charts, chosen))
    smaller = smaller_than(sae)
    new = None
    if smaller:
        count = count_new_in_none(sae, smaller, chosen.threshold)
        new = _cell(sae, None, count, live, ("", ""), chosen)
    return SizeRow(sae_card(sae), live, cells, new)


def _cell(sae: OpenSAE, other: OpenSAE | None, count: int, live: int, charts: tuple[str, str], chosen: Chosen) -> Cell:
    named = other.name if other else ALL_SMALLER
    return Cell(
        heading=named,
        count=count,
        share=count / max(live, 1),
        href=_href(chosen, sae=sae.name, other=named) + "#new",
        current=sae is chosen.sae and named == chosen.other,
        below=charts[0],
        above=charts[1],
        smaller=other is None or other.num_features < sae.num_features,
    )


def _href(chosen: Chosen, page: int = 1, **changes: str) -> str:
    """The address of the page with some of it changed."""
    values = {"sae": chosen.sae.name, "other": chosen.other, "order": chosen.order, **changes}
    run, threshold = chosen.sae.run.name, f"{chosen.threshold:g}"
    return "/compare" + query(run=run, t=threshold, **values, page=page if page > 1 else None)


def _pager(chosen: Chosen, result: NewFeatures) -> Pager:
    return Pager.at(result.page, result.per_page, result.total, lambda page: _href(chosen, page) + "#new")


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
