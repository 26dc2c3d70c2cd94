"""A whole document with the stored activations of a feature on it.

Only the windows of the feature's examples are stored. What lies between them is shown as plain text and marked as
unknown. A long document is cut into pages of PAGE_TOKENS.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from backend.html.tokens import TokenView, highlight, text_direction, visible_text
from backend.published.catalogue import OpenSAE
from backend.published.features import Feature
from data.artifacts.features import EXAMPLE_KINDS, ExampleKind

PAGE_TOKENS = 1024


@dataclass(frozen=True)
class Stretch:
    """Tokens one after the other, all of which are stored or none."""

    tokens: list[TokenView]
    """Empty when their activations are not stored."""
    text: str
    """Of those that are not stored."""
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
    num_stored: int
    """Tokens of this page whose activation is stored."""
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


def whole_document(
    sae: OpenSAE, feature: Feature, kind: ExampleKind, example: int, page: int | None
) -> WholeDocument | None:
    """The document of an example, on the page that holds it or on another; None when either is not there."""
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
    values = _stored([row for row in found if row["document"] == chosen["document"]], start, length)
    pieces = [tables.vocabulary[token] for token in tokens]
    return WholeDocument(
        source=visible_text(record["source"]),
        **_described(record["meta"]),
        num_tokens=record["num_tokens"],
        kind=kind,
        example=example,
        position=chosen["position"],
        activation=chosen["activation"],
        page=page,
        num_pages=num_pages,
        num_stored=sum(value is not None for value in values),
        stretches=_stretches(pieces, values, feature.max, chosen["position"] - start),
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


def _stretches(pieces: Sequence[bytes], values: Sequence[float | None], scale: float, centre: int) -> list[Stretch]:
    """The tokens of a page in runs that are stored and runs that are not."""
    shown = highlight(pieces, [value or 0.0 for value in values], scale, centre)
    stretches = []
    for stored, numbers in groupby(range(len(values)), key=lambda number: values[number] is not None):
        run = list(numbers)
        some = slice(run[0], run[-1] + 1)
        text = visible_text(b"".join(pieces[some]).decode(errors="backslashreplace"))
        stretches.append(Stretch(shown[some] if stored else [], "" if stored else text, len(run)))
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
