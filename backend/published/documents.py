"""A whole document with the activations of a feature on it: those of all its tokens, where the model has read them,
or those that are stored.

Only the windows of the feature's examples are stored. What lies between them is then shown as plain text and marked as
unknown. A long document is cut into pages of PAGE_TOKENS.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from backend.html.tokens import TokenView, highlight, text_direction, visible_text, with_roles
from backend.published.catalogue import OpenSAE
from backend.published.examples import uncounted
from backend.published.features import Feature
from data.artifacts.features import EXAMPLE_KINDS, ExampleKind

PAGE_TOKENS = 1024


@dataclass(frozen=True)
class Stretch:
    """Tokens one after the other, the activations of all of which are known or of none."""

    tokens: list[TokenView]
    """Empty when their activations are not known."""
    text: str
    """Of those whose activations are not."""
    num_tokens: int

    @property
    def holds_example(self) -> bool:
        """Whether it holds the example's centre token."""
        return any(token.centre for token in self.tokens)


@dataclass(frozen=True)
class WholeDocument:
    """One page of a document."""

    source: str
    title: str
    """"" when the corpus has none."""
    link: str
    """Its address on the web, or ""."""
    num_tokens: int
    """Of the whole document."""
    kind: ExampleKind
    example: int
    """Number of the example that led here, from 0, among those of its kind."""
    position: int
    activation: float
    """Of that example."""
    page: int
    """From 1."""
    num_pages: int
    num_known: int
    """Tokens of this page whose activation is known: all that the model has read, or those that are stored."""
    num_active: int
    """Of these, those on which the feature is active."""
    stretches: list[Stretch]

    @property
    def start(self) -> int:
        """Position of the first token of this page."""
        return (self.page - 1) * PAGE_TOKENS

    @property
    def direction(self) -> str:
        """In which its text is read."""
        return text_direction("".join(s.text or "".join(token.text for token in s.tokens) for s in self.stretches))

    @property
    def num_shown(self) -> int:
        return sum(stretch.num_tokens for stretch in self.stretches)


@dataclass(frozen=True)
class DocumentPage:
    """One page of a document, as it is published."""

    feature: Feature
    record: dict[str, Any]
    """Of the document."""
    chosen: dict[str, Any]
    """The example that led here."""
    example: int
    page: int
    """From 1."""
    num_pages: int
    tokens: list[int]
    stored: list[float | None]
    """The feature's activation on every token; None where it is not stored."""

    @property
    def start(self) -> int:
        """Position of the first token."""
        return (self.page - 1) * PAGE_TOKENS


def find_page(sae: OpenSAE, feature: Feature, kind: ExampleKind, example: int, page: int | None) -> DocumentPage | None:
    """The page of a document that holds an example, or another page of it; None when either is not there."""
    tables, counts = sae.run.tables, list(feature.num_examples.values())
    if example >= feature.num_examples[kind]:
        return None
    found = tables.examples(feature.first_example, counts).to_pylist()
    chosen = [row for row in found if EXAMPLE_KINDS[row["kind"]] == kind][example]
    record = tables.take("documents", [chosen["document"]]).to_pylist()[0]
    num_pages = -(-record["num_tokens"] // PAGE_TOKENS)
    page = page or chosen["position"] // PAGE_TOKENS + 1
    if page > num_pages:
        return None
    start = (page - 1) * PAGE_TOKENS
    length = min(PAGE_TOKENS, record["num_tokens"] - start)
    tokens = tables.windows_from([record["first_chunk"]], [start], [length])[0]
    stored = _stored([row for row in found if row["document"] == chosen["document"]], start, length)
    return DocumentPage(feature, record, chosen, example, page, num_pages, tokens, stored)


def sequences_of(sae: OpenSAE, page: DocumentPage) -> list[tuple[int, list[int]]]:
    """The texts that the model reads for a page, as the harvest read them: the tokens of each, the opening one first,
    and how many of them are not of the page.

    A document is read in pieces, each after its own opening token. The first may begin before the page; the last ends
    with it.
    """
    cutting, lead = sae.run.cutting, sae.run.cutting.first
    pieces = cutting.pieces(page.start + len(page.tokens), page.start)
    starts, lengths = [start - lead for start, _ in pieces], [length + lead for _, length in pieces]
    windows = sae.run.tables.windows_from([page.record["first_chunk"]] * len(pieces), starts, lengths)
    skipped = [page.start - pieces[0][0] + 1, *[1] * (len(pieces) - 1)]
    return list(zip(skipped, map(cutting.opened, windows), strict=True))


def whole_document(sae: OpenSAE, found: DocumentPage, values: Sequence[float] | None = None) -> WholeDocument:
    """A page of a document as it is shown. values: the activation on each of its tokens; what is stored by default."""
    record, chosen = found.record, found.chosen
    known: Sequence[float | None] = found.stored if values is None else values
    whose = uncounted(sae.run, [record["first_chunk"]], [found.start], [len(found.tokens)])[0]
    if whose:
        known = [0.0 if role else value for value, role in zip(known, whose, strict=True)]
    pieces = [sae.run.tables.vocabulary[token] for token in found.tokens]
    return WholeDocument(
        source=visible_text(record["source"]),
        **_described(record["meta"]),
        num_tokens=record["num_tokens"],
        kind=EXAMPLE_KINDS[chosen["kind"]],
        example=found.example,
        position=chosen["position"],
        activation=chosen["activation"],
        page=found.page,
        num_pages=found.num_pages,
        num_known=sum(value is not None for value in known),
        num_active=sum(value is not None and value > 0 for value in known),
        stretches=_stretches(pieces, known, found, chosen["position"] - found.start, whose),
    )


def _stored(examples: Sequence[dict[str, Any]], start: int, length: int) -> list[float | None]:
    """The feature's activation on every token of a page; None where it is not stored."""
    values: list[float | None] = [None] * length
    for row in examples:
        window = [0.0] * row["length"]
        for offset, value in zip(row["offsets"], row["values"], strict=True):
            window[offset] = value
        for position, value in enumerate(window, row["start"] - start):
            if 0 <= position < length:
                values[position] = value
    return values


def _stretches(
    pieces: Sequence[bytes],
    values: Sequence[float | None],
    found: DocumentPage,
    centre: int,
    whose: Sequence[str],
) -> list[Stretch]:
    """The tokens of a page in runs that are known and runs that are not; what is stored is a run of its own."""
    shown = highlight(pieces, [value or 0.0 for value in values], found.feature.max, centre)
    shown = with_roles(shown, whose) if whose else shown
    stretches = []
    kinds = [(value is not None, stored is not None) for value, stored in zip(values, found.stored, strict=True)]
    for (known, _), numbers in groupby(range(len(values)), key=kinds.__getitem__):
        run = list(numbers)
        some = slice(run[0], run[-1] + 1)
        text = visible_text(b"".join(pieces[some]).decode(errors="backslashreplace"))
        stretches.append(Stretch(shown[some] if known else [], "" if known else text, len(run)))
    return stretches


def _described(meta: str) -> dict[str, str]:
    """The title and the link of a document, from the corpus's metadata."""
    try:
        described = json.loads(meta)
    except ValueError:
        described = None
    fields = described if isinstance(described, dict) else {}
    title, link = (str(fields.get(name) or "") for name in ("title", "url"))
    return {"title": visible_text(title), "link": link if link.startswith(("https://", "http://")) else ""}
