"""The page of one feature, and what others may embed of it: what they show, and the parts these are made of."""

from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, Literal, cast

from pydantic import Field

from backend.html.address import Address
from backend.html.figures import Bars
from backend.html.page import Link, Page
from backend.html.policies import EMBEDDED
from backend.html.svg import Place, SmallMap, small_map
from backend.html.tokens import visible_text
from backend.published.cards import Metric, SAECard
from backend.published.catalogue import OpenSAE
from backend.published.documents import WholeDocument
from backend.published.examples import Example
from backend.published.features import Feature
from backend.published.neighbours import nearest_rows
from data.artifacts.features import EXAMPLE_KINDS, ExampleKind

Context = Literal["16", "40", "full"]
CONTEXTS: tuple[Context, ...] = ("16", "40", "full")
"""Tokens shown either side of the one that made an example; 40 are stored."""
NEAREST_SHOWN = 6
EMBEDDED_EXAMPLES = 5
TITLES: dict[ExampleKind, tuple[str, str]] = {
    "top": ("Top", "Where it is strongest, at most one example per document."),
    "bottom": ("Bottom", "Where it is just above zero."),
    "contrast": (
        "Contrast",
        "The same tokens as in the top examples, where it stays lowest: same words, other meaning. "
        "Ordered by the value before the nonlinearity, which is the number beside each.",
    ),
    "interval": ("Intervals", "Examples from five equal bands between zero and its maximum, the highest band first."),
}
"""In the order of the tabs."""
SELDOM: dict[ExampleKind, str] = {
    "top": "it is active in no other document",
    "bottom": "it is active on no other token",
    "contrast": "its strongest tokens stand nowhere else",
    "interval": "some bands of its range hold fewer tokens than that",
}
assert set(TITLES) == set(EXAMPLE_KINDS)


class FeatureState(Address):
    """The query string of the page."""

    kind: ExampleKind = "top"
    context: Context = "40"
    example: int = Field(default=0, ge=0, le=9999)
    """With context=full: number of the example whose document is shown."""
    page: int | None = Field(default=None, ge=1, le=1_000_000)
    """With context=full: page of the document; the one with the example by default."""
    embed: bool = False


@dataclass(frozen=True)
class Tab:
    """One kind of examples."""

    title: str
    href: str
    current: bool
    count: int
    explanation: str


@dataclass(frozen=True)
class ExampleGroup:
    """Examples that stand under one heading."""

    heading: str
    """"" for none."""
    examples: list[Example]


@dataclass(frozen=True, slots=True)
class Near:
    """A feature near the one of the page."""

    cosine: str
    """Of the two decoder directions, as shown."""
    index: int
    title: str
    href: str
    x: float | None
    """On the map; None when it is dead."""
    y: float | None


@dataclass(frozen=True)
class NearGroup:
    """The nearest features in one SAE."""

    heading: str
    series: int
    nearest: list[Near]


def tabs(feature: Feature, view: FeatureState) -> list[Tab]:
    """The kinds of examples."""
    return [
        Tab(title, _first(feature, view, kind=name), name == view.kind, feature.num_examples[name], text)
        for name, (title, text) in TITLES.items()
    ]


def embed_html(address: str) -> str:
    """An iframe that shows a feature on another page."""
    return f'<iframe src="{address}?embed=1" title="A feature" width="640" height="420" loading="lazy"></iframe>'


def groups(sae: OpenSAE, feature: Feature, examples: list[Example]) -> list[ExampleGroup]:
    """Interval examples by band, the others together."""
    width = feature.max / asked(sae, "bands")
    return [
        ExampleGroup(f"{band * width:.3g} to {(band + 1) * width:.3g}" if band >= 0 else "", list(group))
        for band, group in groupby(examples, key=lambda example: example.band)
    ]


def shortfall(sae: OpenSAE, feature: Feature, kind: ExampleKind) -> str:
    """Why there are fewer examples than the recipe asks for."""
    wanted = asked(sae, "bands") * asked(sae, "per_band") if kind == "interval" else asked(sae, kind)
    found = feature.num_examples[kind]
    if found >= wanted or feature.dead:
        return ""
    return f"{found} instead of {wanted}: {SELDOM[kind]} among the {sae.run.num_tokens:,} tokens that were read."


@dataclass(frozen=True)
class FeaturePage(Page):
    """features/feature.html: everything about one feature."""

    sae: SAECard
    feature: Feature
    score: str
    """What is known of how well its label fits, in words."""
    num_tokens: int
    """That statistics and examples were counted on."""
    previous: str | None
    next: str | None
    metrics: list[Metric]
    tabs: list[Tab]
    contexts: list[Link]
    """Widths of the context."""
    next_context: str
    about: str
    """What the examples of the current tab are."""
    shortfall: str
    """Why there are fewer examples than asked for; "" when there are not."""
    groups: list[ExampleGroup]
    document: WholeDocument | None
    """Shown in place of the examples."""
    steps: dict[str, str]
    """Addresses beside a whole document: previous and next example and page, those that are there."""
    in_full: str
    """The address of the first example's document, to which `&example=` adds a number."""
    bars: Bars | None
    """Histogram of its activations; None when it is dead."""
    near: list[NearGroup]
    map: SmallMap | None
    """None when it is dead."""
    off: str
    """Why a text cannot be tried; "" when it can."""
    embed_html: str
    """What others put on their pages."""


@dataclass(frozen=True)
class EmbedPage(Page):
    """features/embed.html: a feature inside another page."""

    policy: ClassVar[str] = EMBEDDED

    sae: SAECard
    feature: Feature
    score: str
    num_tokens: int
    about: str
    examples: list[Example]
    link: str
    """The feature's own page."""


def context_links(feature: Feature, view: FeatureState) -> list[Link]:
    """The widths of the context."""
    names = {"16": "16", "40": "40", "full": "document"}
    return [
        Link(names[context], _first(feature, view, context=context), context == view.context) for context in CONTEXTS
    ]


def _first(feature: Feature, view: FeatureState, **changes: str) -> str:
    """The address of other examples from the first on; of a whole document, at the token that counts."""
    kind, context = changes.get("kind", view.kind), changes.get("context", view.context)
    at = "#at" if context == "full" and feature.num_examples[cast(ExampleKind, kind)] else "#examples"
    return feature.href + view.query(**changes, example=0, page=None) + at


def step_href(sae: OpenSAE, index: int, view: FeatureState) -> str | None:
    """The address of another feature of the SAE, seen in the same way; None when there is none."""
    return f"{sae.href}/{index}" + view.query(example=0, page=None) if 0 <= index < sae.num_features else None


def asked(sae: OpenSAE, what: str) -> int:
    """A number of examples that the recipe asks for."""
    return int(sae.run.record.recipe["examples"][what])


def score_text(feature: Feature) -> str:
    """How well the label fits, in words; "" for a dead feature."""
    if feature.dead:
        return ""
    if feature.label_score is None:
        return "not scored"
    return f"fits {feature.label_score:.0%} of its strongest examples"


def document_steps(feature: Feature, view: FeatureState, document: WholeDocument) -> dict[str, str]:
    """Addresses beside a whole document, those that are there."""
    steps = {}
    if document.example:
        steps["previous example"] = feature.href + view.query(example=document.example - 1, page=None)
    if document.example + 1 < feature.num_examples[view.kind]:
        steps["next example"] = feature.href + view.query(example=document.example + 1, page=None)
    if document.page > 1:
        steps["previous page"] = feature.href + view.query(page=document.page - 1)
    if document.page < document.num_pages:
        steps["next page"] = feature.href + view.query(page=document.page + 1)
    return steps


def near_groups(sae: OpenSAE, index: int) -> list[NearGroup]:
    """The nearest features in each SAE, its own first: two reads."""
    places = nearest_rows(sae, index, NEAREST_SHOWN)
    rows = [row for pairs in places.values() for row, _ in pairs]
    columns = sae.run.tables.take("features", rows, ["label", "num_active", "x", "y"]).to_pydict()
    told = iter(zip(*columns.values(), strict=True))
    found = []
    for other in sorted(sae.run.saes, key=lambda other: other.name != sae.name):
        nearest = []
        for row, cosine in places[other.name]:
            label, num_active, x, y = next(told)
            at = row - other.row(0)
            title = visible_text(label) or (f"feature {at}" if num_active else "dead feature")
            nearest.append(Near(f"{cosine:.2f}".replace("-", "−"), at, title, f"{other.href}/{at}", x, y))
        heading = "In this SAE" if other is sae else f"In {other.name}"
        found.append(NearGroup(heading, other.record.position, nearest))
    return found


def neighbourhood(sae: OpenSAE, feature: Feature, near: list[NearGroup]) -> SmallMap | None:
    """The feature and its nearest on the map; None when it is not on it."""
    if feature.x is None or feature.y is None:
        return None
    here = Place(feature.x, feature.y, sae.record.position, feature.title, feature.href)
    others = [
        Place(other.x, other.y, group.series, other.title, other.href)
        for group in near
        for other in group.nearest
        if other.x is not None and other.y is not None
    ]
    return small_map(here, others)
