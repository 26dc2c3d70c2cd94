"""Reads of examples with their tokens, a fixed number however many features there are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.html.tokens import TokenView, highlight, visible_text, with_roles
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.features import SUMMARY, Feature, FeatureSummary, TokenWeight, summary_fields, token_weights
from data.artifacts.corpus import COUNTED, ROLES, format_document_id
from data.artifacts.features import EXAMPLE_KINDS, ExampleKind
from data.published.memory import Memory

EXAMPLE_COLUMNS = [
    "kind",
    "rank",
    "band",
    "document",
    "document_id",
    "position",
    "start",
    "length",
    "activation",
    "pre_activation",
    "offsets",
    "values",
    "repeats",
]
DOCUMENTS_CACHED = 100_000


@dataclass(frozen=True, slots=True)
class Example:
    """A stretch of a document, with the feature's activation on every token."""

    kind: ExampleKind
    rank: int
    band: int
    """interval: 0 (lowest) upwards; others: -1."""
    document_id: str
    source: str
    position: int
    """Of the token that made it an example, in its document."""
    start: int
    """Position of the first token shown."""
    activation: float
    pre_activation: float
    tokens: list[TokenView]
    repeats: int
    """Other places of the text that was read with the same tokens around the one that counts: copies, shown once."""


@dataclass(frozen=True, slots=True)
class FeaturePreview:
    """A feature with a first look at it."""

    feature: FeatureSummary
    promoted: list[TokenWeight]
    """Most promoted first."""
    examples: list[Example]
    """Its strongest."""


def get_examples(sae: OpenSAE, feature: Feature, kind: ExampleKind, width: int | None = None) -> list[Example]:
    """The examples of one kind, in their order; with `width` tokens either side of the one that counts, or all kept."""
    tables, counts = sae.run.tables, list(feature.num_examples.values())
    found = tables.examples(feature.first_example, counts, EXAMPLE_KINDS.index(kind), EXAMPLE_COLUMNS).to_pylist()
    if width is not None:
        found = [_narrowed(example, width) for example in found]
    return read_examples(sae.run, found, [feature.max] * len(found))


def _narrowed(example: dict[str, Any], width: int) -> dict[str, Any]:
    """The same with at most `width` tokens either side of the one that counts."""
    start = max(example["start"], example["position"] - width)
    stop = min(example["start"] + example["length"], example["position"] + width + 1)
    skip = start - example["start"]
    kept = [
        (offset - skip, value)
        for offset, value in zip(example["offsets"], example["values"], strict=True)
        if skip <= offset < stop - example["start"]
    ]
    offsets, values = [offset for offset, _ in kept], [value for _, value in kept]
    return {**example, "start": start, "length": stop - start, "offsets": offsets, "values": values}


def get_previews(run: OpenRun, rows: list[int], num_examples: int) -> list[FeaturePreview]:
    """Features of a run by row with their strongest examples, in four reads however many there are."""
    columns = [*SUMMARY, "promoted", "promoted_logits", "first_example", "num_examples"]
    records = run.tables.take("features", rows, columns).to_pylist()
    places = [range(r["first_example"], r["first_example"] + min(num_examples, r["num_examples"][0])) for r in records]
    found = run.tables.take("examples", [row for place in places for row in place]).to_pylist()
    scales = [record["max"] for record, place in zip(records, places, strict=True) for _ in place]
    examples = iter(read_examples(run, found, scales))
    return [
        FeaturePreview(
            FeatureSummary(**summary_fields(run, record)),
            token_weights(run, record["promoted"], record["promoted_logits"]),
            [next(examples) for _ in place],
        )
        for record, place in zip(records, places, strict=True)
    ]


def documents_of(run: OpenRun, rows: list[int]) -> list[tuple[str, int]]:
    """Source and first chunk of documents; those that examples share are read once."""
    known = run.once(_known_documents)
    found = {row: document for row in rows if (document := known.get(row))}
    missing = [row for row in dict.fromkeys(rows) if row not in found]
    if missing:
        records = run.tables.take("documents", missing, ["source", "first_chunk"]).to_pylist()
        read = {row: (record["source"], record["first_chunk"]) for row, record in zip(missing, records, strict=True)}
        known.put(read)
        found |= read
    return [found[row] for row in rows]


def _known_documents(run: OpenRun) -> Memory[int, tuple[str, int]]:
    """Documents of a run that were read, by row; empty at first."""
    return Memory(DOCUMENTS_CACHED)


def read_examples(run: OpenRun, found: list[dict[str, Any]], scales: list[float]) -> list[Example]:
    """Examples of one feature or several with their tokens; `scales` are the ends of their highlights."""
    tables, documents = run.tables, documents_of(run, [e["document"] for e in found])
    starts, lengths = [e["start"] for e in found], [e["length"] for e in found]
    windows = tables.windows_from([first_chunk for _, first_chunk in documents], starts, lengths)
    whose = uncounted(run, [first_chunk for _, first_chunk in documents], starts, lengths)
    return [
        _example(example, source, [tables.vocabulary[token] for token in tokens], scale, roles)
        for example, (source, _), tokens, scale, roles in zip(found, documents, windows, scales, whose, strict=True)
    ]


def uncounted(
    run: OpenRun, first_chunks: Sequence[int], starts: Sequence[int], lengths: Sequence[int]
) -> list[list[str]]:
    """Whose the tokens of stretches are that do not count, "" for the others; nothing of plain text."""
    if not run.tables.has_roles:
        return [[] for _ in starts]
    found = run.tables.roles_from(first_chunks, starts, lengths)
    return [["" if role >= COUNTED else ROLES[role] for role in roles.tolist()] for roles in found]


def _example(record: dict[str, Any], source: str, tokens: list[bytes], scale: float, whose: Sequence[str]) -> Example:
    values = [0.0] * len(tokens)
    for offset, value in zip(record["offsets"], record["values"], strict=True):
        values[offset] = value
    views = highlight(tokens, values, scale, record["position"] - record["start"])
    return Example(
        kind=EXAMPLE_KINDS[record["kind"]],
        rank=record["rank"],
        band=record["band"],
        document_id=format_document_id(record["document_id"]),
        source=visible_text(source),
        position=record["position"],
        start=record["start"],
        activation=record["activation"],
        pre_activation=record["pre_activation"],
        tokens=with_roles(views, whose) if whose else views,
        repeats=record["repeats"],
    )


TOKENS_SHOWN = 12
"""Either side of the strongest token, in the worked example."""


def clip_context(example: Example, tokens: int = TOKENS_SHOWN) -> Example:
    """The same with at most `tokens` on either side of the one that counts."""
    centre = example.position - example.start
    first = max(0, centre - tokens)
    return replace(example, start=example.start + first, tokens=example.tokens[first : centre + tokens + 1])
