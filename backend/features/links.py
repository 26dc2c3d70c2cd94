"""The state of a feature's page in its address, and the links from one state to the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from pydantic import Field

from backend.html.address import Address
from backend.html.page import Link
from backend.published.catalogue import OpenSAE
from backend.published.documents import WholeDocument
from backend.published.examples import Example
from backend.published.features import Feature
from data.artifacts.features import ExampleKind, bottom_floor

Context = Literal["16", "40", "full"]
CONTEXTS: tuple[Context, ...] = ("16", "40", "full")
"""Tokens shown either side of the one that made an example; 40 are stored."""
KIND_TITLES: dict[ExampleKind, tuple[str, str]] = {
    "top": ("Top", "Where it is strongest, at most one example per {document}."),
    "bottom": (
        "Bottom",
        "Where it is lowest, among the tokens on which it reaches {floor}, a thousandth of the usual length of the "
        "model's vectors: what is less is rounding.",
    ),
    "contrast": (
        "Contrast",
        "The same tokens as in the top examples, where it stays lowest: same words, other meaning. "
        "The number beside each is what it would be if a value below the feature's threshold were not set to zero.",
    ),
    "interval": ("Intervals", "Examples from five equal bands between zero and its maximum, the highest band first."),
}
"""In the order of the tabs: name, and what they are."""
COPIES_ONCE = " Copies of a passage are shown once, with their number."


class FeatureState(Address):
    """The query string of the page."""

    kind: ExampleKind = "top"
    context: Context = "40"
    example: int = Field(default=0, ge=0, le=9999)
    """With context=full: number of the example whose document is shown."""
    page: int | None = Field(default=None, ge=1, le=1_000_000)
    """With context=full: page of the document; the one with the example by default."""
    judge: str = Field(default="", max_length=64)
    """The judge whose answers are shown; the first that has any by default."""
    band: int | None = Field(default=None, ge=0, le=99)
    """With `score`: the band of the activations that are listed."""
    score: int | None = Field(default=None, ge=0, le=3)
    """The answer of those that are listed."""
    minor: bool = False
    """Whether rare and negligible neighbours are listed too."""
    embed: bool = False


@dataclass(frozen=True)
class Tab:
    """One kind of examples."""

    title: str
    href: str
    current: bool
    count: int
    explanation: str


def about(sae: OpenSAE, kind: ExampleKind, examples: Sequence[Example] = ()) -> str:
    """Sentences on what examples of a kind are, and on copies where some of them have any."""
    text = KIND_TITLES[kind][1].format(floor=floor_text(sae), document=document_text(sae))
    return text + (COPIES_ONCE if any(example.repeats for example in examples) else "")


def document_text(sae: OpenSAE) -> str:
    """What counts as a document, in words."""
    is_cut = sae.run.record.corpus["tokenize"].get("num_cut_documents", 0) > 0
    return "document, or per part of a long one" if is_cut else "document"


def floor_text(sae: OpenSAE) -> str:
    """The floor of `bottom`, as pages write it."""
    return f"{bottom_floor(sae.record.histogram_scale):.3g}"


def tabs(sae: OpenSAE, feature: Feature, view: FeatureState) -> list[Tab]:
    """The kinds of examples."""
    return [
        Tab(title, _first(feature, view, kind=name), name == view.kind, feature.num_examples[name], about(sae, name))
        for name, (title, _) in KIND_TITLES.items()
    ]


def embed_html(address: str) -> str:
    """An iframe that shows a feature on another page."""
    return f'<iframe src="{address}?embed=1" title="A feature" width="640" height="420" loading="lazy"></iframe>'


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
