"""What each page shows: one dataclass per template, every field used by it, and the parts they are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from backend.downloads import Download
from backend.figures import Bars
from backend.queries import Neighbours
from backend.security import PLOTS, STRICT
from backend.selection import FeatureList, Score, Selection, Sort


@dataclass(frozen=True)
class Page:
    """What every page has."""

    policy: ClassVar[str] = STRICT
    """Its Content-Security-Policy, see backend/security.py."""


# ---- parts


@dataclass(frozen=True)
class Metric:
    """A measured value with what it means."""

    name: str
    text: str
    """The value as shown, with its unit."""
    explanation: str


@dataclass(frozen=True)
class SAECard:
    """An SAE as pages name it."""

    model: str
    name: str
    href: str
    series: int
    """Its colour: its place in the run."""
    num_features: int
    method: str
    """How it was trained, in words."""
    metrics: list[Metric]


@dataclass(frozen=True)
class RunCard:
    """A run as pages name it."""

    name: str
    model: str
    layer: int
    corpus: str
    num_tokens: int
    """Tokens that statistics and examples were counted on."""
    saes: list[SAECard]


@dataclass(frozen=True)
class Link:
    """A link that may be the current one."""

    text: str
    href: str
    current: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table that can be sorted by."""

    name: Sort
    title: str
    explanation: str
    href: str
    """The same list sorted by it; in the other direction if it already is."""
    direction: str
    """"ascending", "descending", or "" when the list is not sorted by it."""
    numeric: bool


@dataclass(frozen=True)
class Pager:
    """Where a page of a list stands."""

    text: str
    """e.g. 51–100 of 4,096"""
    previous: str | None
    """From beyond the end, the last page."""
    next: str | None
    last_page: int
    beyond: bool
    """Whether there is no such page, though there are others."""

    @classmethod
    def at(cls, page: int, per_page: int, total: int, address: Callable[[int], str], of: str = "") -> Self:
        """Where a page from 1 stands among `total` entries. address: of a page; of: words before the total."""
        first, last, last_page = (page - 1) * per_page, min(page * per_page, total), max(1, -(-total // per_page))
        return cls(
            text=f"{first + 1:,}–{last:,} of {of}{total:,}" if first < total else f"0 of {of}{total:,}",
            previous=address(min(page - 1, last_page)) if page > 1 else None,
            next=address(page + 1) if last < total else None,
            last_page=last_page,
            beyond=page > last_page and total > 0,
        )


@dataclass(frozen=True)
class NeighbourGroup:
    """The nearest features in one SAE."""

    heading: str
    card: SAECard
    neighbours: Neighbours


@dataclass(frozen=True)
class Notice:
    """Something that is not as a person would expect it, and what to do about it."""

    title: str
    text: str


@dataclass(frozen=True)
class Parameter:
    """One parameter of an API operation."""

    name: str
    place: str
    """path, query or body"""
    type: str
    required: bool
    description: str


@dataclass(frozen=True)
class Operation:
    """One operation of the API."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[Parameter]
    tag: str
    answers: str
    """The type of its answer."""
    example: str
    """An address that can be opened, or ""."""


# ---- pages


@dataclass(frozen=True)
class ErrorPage(Page):
    """base/error.html: what went wrong, and where to go from here."""

    status: int
    title: str
    detail: str
    """What to do, in a sentence."""
    plain: str
    """Address of the same page without its query, where that is what does not fit; else ""."""


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


@dataclass(frozen=True)
class DocsPage(Page):
    """base/docs.html: the API, from its OpenAPI description."""

    operations: dict[str, list[Operation]]
    """By tag."""
    openapi: str
    """Address of the description."""
