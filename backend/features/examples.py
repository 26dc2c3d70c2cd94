"""The examples on a feature's page, or the whole document of one: what is shown, and the links to the rest."""

from dataclasses import dataclass
from itertools import groupby

from backend.features.document import ShownDocument
from backend.features.links import FeatureState, Tab, about, context_links, document_steps, tabs
from backend.features.missing import band_edges, missing_examples
from backend.html.page import Link
from backend.published.catalogue import OpenSAE
from backend.published.documents import WholeDocument
from backend.published.examples import Example, get_examples
from backend.published.features import Feature


@dataclass(frozen=True)
class ExampleGroup:
    """Examples under one heading."""

    heading: str
    """"" for none."""
    examples: list[Example]


def groups(sae: OpenSAE, feature: Feature, examples: list[Example]) -> list[ExampleGroup]:
    """Interval examples by band, the others together."""
    return [
        ExampleGroup(band_edges(sae, feature, band) if band >= 0 else "", list(group))
        for band, group in groupby(examples, key=lambda example: example.band)
    ]


@dataclass(frozen=True)
class ExamplesSection:
    """Examples of one kind, or a document in their place."""

    tabs: list[Tab]
    contexts: list[Link]
    """Widths of the context."""
    next_context: str
    about: str
    """A description of the examples of the current tab."""
    missing: str
    """The reason why there are fewer examples than asked for; "" when there are not."""
    groups: list[ExampleGroup]
    document: WholeDocument | None
    """Shown in place of the examples."""
    unread: str
    """The reason why the model has not read the document, so that only what is stored is shown; "" when it has."""
    steps: dict[str, str]
    """Addresses beside a whole document: previous and next example and page, those that are there."""
    in_full: str
    """The address of the first example's document, to which `&example=` adds a number."""


def examples_section(
    sae: OpenSAE, feature: Feature, view: FeatureState, shown: ShownDocument | None
) -> ExamplesSection:
    """The section as an address asks for it. shown: the document in place of the examples."""
    examples = [] if view.context == "full" else get_examples(sae, feature, view.kind, int(view.context))
    document = shown.document if shown else None
    links = context_links(feature, view)
    place = [link.current for link in links].index(True)
    return ExamplesSection(
        tabs=tabs(sae, feature, view),
        contexts=links,
        next_context=links[(place + 1) % len(links)].href,
        about=about(sae, view.kind, examples),
        missing=missing_examples(sae, feature, view.kind),
        groups=groups(sae, feature, examples),
        document=document,
        unread=shown.unread if shown else "",
        steps=document_steps(feature, view, document) if document else {},
        in_full=feature.href + view.query(context="full", example=0, page=None),
    )
