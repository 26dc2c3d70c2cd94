"""The pages of feature splitting: one family drawn together, as a tree and side by side; and the counts per size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

from backend.html.page import Page
from backend.published.cards import RunCard, SAECard, run_card, sae_card
from backend.published.catalogue import OpenSAE
from backend.published.features import FeatureSummary
from backend.splitting.address import CompareState
from backend.splitting.family import Count, Family, Relative
from backend.splitting.sizes import by_size

PANEL_WIDTH, PANEL_HEIGHT, MARGIN = 420, 250, 30
LABEL_CHARACTERS = 24
CHARACTER_WIDTH, LINE_HEIGHT = 7.0, 16
"""Room that a letter of a label takes, and a line."""


# ---- one family


@dataclass(frozen=True)
class PanelDot:
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
    dots: list[PanelDot]
    """Of other SAEs first, so that its own lie on top."""
    labels: list[Label]
    about: str
    """The number of its features in the family, in words."""


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
    """The nearest feature to one without relatives."""

    text: str
    href: str
    """Shows it as a relative."""


@dataclass(frozen=True)
class FamilyPage(Page):
    """splitting/family.html: one feature's relatives in every size."""

    run: RunCard
    sae: SAECard
    feature: FeatureSummary
    family: Family
    summary: str
    """The numbers of relatives and of those shown; "" without any."""
    switch: str
    """The address at which rare and negligible relatives are shown, or no longer are."""
    nearest: Nearest | None
    """In place of relatives, when there are none but near ones."""
    panels: list[Panel]
    roots: list[Branch]
    generations: list[Generation]
    titles: dict[int, str]
    """Of the members by number."""
    size: tuple[int, int]
    """Width and height of a panel."""


def family_href(name: str, family: Family, threshold: float | None = None) -> str:
    """Address of another feature's family, seen as this one is, or at another threshold."""
    return CompareState(f=name, t=family.threshold if threshold is None else threshold, minor=family.minor).href()


def family_page_of(sae: OpenSAE, family: Family) -> FamilyPage:
    """The page's context."""
    cards = {other.name: sae_card(other) for other in sae.run.saes}
    branches = _branches(family, cards)
    members = family.members
    return FamilyPage(
        run=run_card(sae.run),
        sae=cards[sae.name],
        feature=family.focus.preview.feature,
        family=family,
        summary=_summary(family),
        switch=CompareState(f=family.focus.preview.feature.name, t=family.threshold, minor=not family.minor).href(),
        nearest=_nearest(family),
        panels=[_panel(other, cards, family) for other in by_size(sae.run)],
        roots=[branches[member.number] for member in members if member.parent is None],
        generations=[
            Generation(
                cards[other.name], [branches[m.number] for m in members if m.sae is other], _about(family, other)
            )
            for other in by_size(sae.run)
        ],
        titles={member.number: member.preview.feature.title for member in members},
        size=(PANEL_WIDTH, PANEL_HEIGHT),
    )


def _branches(family: Family, cards: dict[str, SAECard]) -> dict[int, Branch]:
    found = {
        m.number: Branch(m, cards[m.sae.name], family_href(m.preview.feature.name, family), []) for m in family.members
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
    """The number of features of an SAE in a family, in words."""
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
    return Nearest(f"{where}, at {node.cosine:.3f}", family_href(family.focus.preview.feature.name, family, lower))


def _panel(sae: OpenSAE, cards: dict[str, SAECard], family: Family) -> Panel:
    places = _scaled([(member.x, member.y) for member in family.members])
    dots = [
        PanelDot(
            *place, member.sae is sae, member.focus, member.sae.record.position, _title(member),
            family_href(member.preview.feature.name, family),
        )
        for member, place in zip(family.members, places, strict=True)
    ]  # fmt: skip
    dots.sort(key=lambda dot: (dot.own, dot.focus))
    own = [(m, place) for m, place in zip(family.members, places, strict=True) if m.sae is sae]
    labels = _labels(sorted(own, key=lambda one: (not one[0].focus, -one[0].cosine)), dots)
    return Panel(cards[sae.name], dots, labels, _about(family, sae))


def _title(member: Relative) -> str:
    feature = member.preview.feature
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


def _labels(members: Sequence[tuple[Relative, tuple[float, float]]], dots: Sequence[PanelDot]) -> list[Label]:
    """Labels beside their dots, the first ones first; one that would lie on a dot or a label is left out."""
    taken = [_around(dot) for dot in dots]
    standing_out = [_around(dot) for dot in dots if dot.own]
    found: list[Label] = []
    for member, (x, y) in members:
        title = member.preview.feature.title
        text = title if len(title) <= LABEL_CHARACTERS else title[: LABEL_CHARACTERS - 1].rstrip() + "…"
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


def _around(dot: PanelDot) -> Box:
    radius = 8 if dot.focus else 6 if dot.own else 3
    return dot.x - radius, dot.y - radius, dot.x + radius, dot.y + radius


def _box(label: Label) -> Box:
    width = CHARACTER_WIDTH * sum(1 + (east_asian_width(letter) in "WF") for letter in label.text)
    left = label.x - width * {"start": 0, "middle": 0.5, "end": 1}[label.anchor]
    return left, label.y - LINE_HEIGHT + 4, left + width, label.y + 4


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
