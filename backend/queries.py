"""Typed reads of what is published. Each takes a fixed number of reads, however many features there are."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from backend.catalogue import OpenRun, OpenSAE
from backend.tokens import TokenView, highlight, token_text, visible_text
from data.documents import format_document_id
from data.records import EXAMPLE_KINDS, ExampleKind, histogram_edges

SUMMARY = [
    "sae",
    "index",
    "label",
    "label_origin",
    "label_score",
    "specificity",
    "num_active",
    "density",
    "max",
    "mean",
]
DETAILS = [
    *SUMMARY,
    "histogram",
    "promoted",
    "promoted_logits",
    "suppressed",
    "suppressed_logits",
    "first_example",
    "num_examples",
    "x",
    "y",
]
EXAMPLE = [
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
]
DOCUMENTS_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class FeatureSummary:
    """A feature in a list."""

    model: str
    sae: str
    index: int
    label: str
    """"" for a dead feature."""
    label_origin: str
    label_score: float | None
    """Share of its strongest examples that the label fits; None when the label says none of them."""
    specificity: float | None
    """A judge's score of how well it keeps to its concept; None when none has scored it."""
    num_active: int
    """Tokens on which it is above 0."""
    density: float
    """The same as a share of all tokens counted."""
    max: float
    """Highest activation, in the residual stream's units."""
    mean: float
    """Over the tokens on which it is active."""

    @property
    def href(self) -> str:
        """Address of its page."""
        return f"/{self.model}/{self.sae}/{self.index}"

    @property
    def name(self) -> str:
        """model/sae/index"""
        return self.href[1:]

    @property
    def dead(self) -> bool:
        return self.num_active == 0

    @property
    def title(self) -> str:
        """Its label, or what to call it without one."""
        return self.label or ("dead feature" if self.dead else f"feature {self.index}")


@dataclass(frozen=True, slots=True)
class TokenWeight:
    """A token whose logit a feature raises or lowers."""

    token: int
    text: str
    logit: float
    """Decoder direction through the final norm's scale and the unembedding."""


@dataclass(frozen=True, slots=True)
class Feature(FeatureSummary):
    """One feature with all that is kept of it but its examples and neighbours."""

    histogram: list[int]
    """Tokens in each bin. The first also counts everything below it, the last everything above."""
    histogram_edges: list[float]
    """Of the bins, one more than there are."""
    promoted: list[TokenWeight]
    suppressed: list[TokenWeight]
    num_examples: dict[ExampleKind, int]
    first_example: int
    """Row of its first example."""
    x: float | None
    """On the map of the run; None when it is dead."""
    y: float | None


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


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A feature near another one."""

    cosine: float
    """Of the two decoder directions."""
    feature: FeatureSummary


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest features in one SAE."""

    sae: str
    own: bool
    """Whether it is the feature's own SAE."""
    nearest: list[Neighbour]


@dataclass(frozen=True, slots=True)
class Specimen:
    """A feature with a first look at it."""

    feature: FeatureSummary
    promoted: list[TokenWeight]
    """Most promoted first."""
    examples: list[Example]
    """Its strongest."""


def get_feature(sae: OpenSAE, index: int) -> Feature:
    """One feature. The index must be within the SAE."""
    return _feature(sae.run, sae.run.tables.take("features", [sae.row(index)], DETAILS).to_pylist()[0])


def get_examples(sae: OpenSAE, feature: Feature, kind: ExampleKind, width: int | None = None) -> list[Example]:
    """The examples of one kind, in their order; with `width` tokens either side of the one that counts, or all kept."""
    tables, counts = sae.run.tables, list(feature.num_examples.values())
    found = tables.examples(feature.first_example, counts, EXAMPLE_KINDS.index(kind), EXAMPLE).to_pylist()
    if width is not None:
        found = [_narrowed(example, width) for example in found]
    return _read_examples(sae.run, found, [feature.max] * len(found))


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


def get_neighbours(sae: OpenSAE, index: int, k: int, only: str | None = None) -> list[Neighbours]:
    """The `k` nearest features in each SAE of the run, or in one: its own first, the others in their order."""
    places = nearest_rows(sae, index, k)
    chosen = {name: nearest for name, nearest in places.items() if only in (None, name)}
    return _neighbours(sae, chosen, get_summaries(sae.run, [row for rows in chosen.values() for row, _ in rows]))


def get_surroundings(sae: OpenSAE, index: int, k: int) -> tuple[Feature, list[Neighbours]]:
    """A feature and its neighbours, with one read less than each on its own."""
    places = nearest_rows(sae, index, k)
    rows = [sae.row(index), *(row for rows in places.values() for row, _ in rows)]
    records = sae.run.tables.take("features", rows, DETAILS).to_pylist()
    summaries = [FeatureSummary(**_summary(sae.run, record)) for record in records[1:]]
    return _feature(sae.run, records[0]), _neighbours(sae, places, summaries)


def get_summaries(run: OpenRun, rows: list[int]) -> list[FeatureSummary]:
    """Features of a run by row, in the order asked for."""
    return to_summaries(run, run.tables.take("features", rows, SUMMARY))


def to_summaries(run: OpenRun, records: pa.Table) -> list[FeatureSummary]:
    """Rows of the table of features, with the columns SUMMARY, as features."""
    return [FeatureSummary(**_summary(run, record)) for record in records.to_pylist()]


def get_specimens(run: OpenRun, rows: list[int], num_examples: int) -> list[Specimen]:
    """Features of a run by row with their strongest examples, in four reads however many there are."""
    columns = [*SUMMARY, "promoted", "promoted_logits", "first_example", "num_examples"]
    records = run.tables.take("features", rows, columns).to_pylist()
    places = [range(r["first_example"], r["first_example"] + min(num_examples, r["num_examples"][0])) for r in records]
    found = run.tables.take("examples", [row for place in places for row in place]).to_pylist()
    scales = [record["max"] for record, place in zip(records, places, strict=True) for _ in place]
    examples = iter(_read_examples(run, found, scales))
    return [
        Specimen(
            FeatureSummary(**_summary(run, record)),
            _weights(run, record["promoted"], record["promoted_logits"]),
            [next(examples) for _ in place],
        )
        for record, place in zip(records, places, strict=True)
    ]


def get_places(run: OpenRun, rows: list[int]) -> list[tuple[float, float] | None]:
    """Where features of a run lie on the map, by row; None for dead ones."""
    records = run.tables.take("features", rows, ["x", "y"]).to_pylist()
    return [None if record["x"] is None else (record["x"], record["y"]) for record in records]


def nearest_rows(sae: OpenSAE, index: int, k: int | None = None) -> dict[str, list[tuple[int, float]]]:
    """Row and cosine of the `k` nearest, or of all that are published, in each SAE by name, its own first."""
    indices_SK, cosines_SK = sae.run.tables.neighbours(sae.row(index), len(sae.run.saes))
    found = {}
    for other in sorted(sae.run.saes, key=lambda other: other.name != sae.name):
        near_K, cosine_K = indices_SK[other.record.position, :k], cosines_SK[other.record.position, :k]
        pairs = zip(near_K.tolist(), cosine_K.tolist(), strict=True)
        found[other.name] = [(other.row(near), cosine) for near, cosine in pairs if near >= 0]
    return found


def _neighbours(
    sae: OpenSAE, places: dict[str, list[tuple[int, float]]], features: list[FeatureSummary]
) -> list[Neighbours]:
    """Groups of the neighbours at `places`, whose `features` come in the same order."""
    following = iter(features)
    return [
        Neighbours(name, name == sae.name, [Neighbour(cosine, next(following)) for _, cosine in rows])
        for name, rows in places.items()
    ]


def _documents(run: OpenRun, rows: list[int]) -> list[tuple[str, int]]:
    """Source and first chunk of documents; those that examples share are read once."""
    known: dict[int, tuple[str, int]] = run.remembered.setdefault("documents", {})
    if len(known) > DOCUMENTS_REMEMBERED:
        known = run.remembered["documents"] = {}
    missing = [row for row in dict.fromkeys(rows) if row not in known]
    if missing:
        read = run.tables.take("documents", missing, ["source", "first_chunk"]).to_pylist()
        known |= {row: (record["source"], record["first_chunk"]) for row, record in zip(missing, read, strict=True)}
    return [known[row] for row in rows]


def _feature(run: OpenRun, record: dict[str, Any]) -> Feature:
    scale = next(sae.record.histogram_scale for sae in run.saes if sae.name == record["sae"])
    return Feature(
        **_summary(run, record),
        histogram=record["histogram"],
        histogram_edges=histogram_edges(scale).tolist(),
        promoted=_weights(run, record["promoted"], record["promoted_logits"]),
        suppressed=_weights(run, record["suppressed"], record["suppressed_logits"]),
        num_examples=dict(zip(EXAMPLE_KINDS, record["num_examples"], strict=True)),
        first_example=record["first_example"],
        x=record["x"],
        y=record["y"],
    )


def quoted(text: str) -> str:
    """A text as a condition in SQL names it; NUL is left out, for no published name has one."""
    return "'" + text.replace("\0", "").replace("'", "''") + "'"


def _summary(run: OpenRun, record: dict[str, Any]) -> dict[str, Any]:
    summary = {name: record[name] for name in SUMMARY}
    return {**summary, "model": run.record.model, "label": visible_text(summary["label"])}


def _weights(run: OpenRun, tokens: list[int], logits: list[float]) -> list[TokenWeight]:
    vocabulary = run.tables.vocabulary
    return [TokenWeight(t, token_text(vocabulary[t]), logit) for t, logit in zip(tokens, logits, strict=True)]


def _read_examples(run: OpenRun, found: list[dict[str, Any]], scales: list[float]) -> list[Example]:
    """Examples of one feature or several with their tokens; `scales` are the ends of their highlights."""
    tables, documents = run.tables, _documents(run, [e["document"] for e in found])
    starts, lengths = [e["start"] for e in found], [e["length"] for e in found]
    windows = tables.windows_from([first_chunk for _, first_chunk in documents], starts, lengths)
    return [
        _example(example, source, [tables.vocabulary[token] for token in tokens], scale)
        for example, (source, _), tokens, scale in zip(found, documents, windows, scales, strict=True)
    ]


def _example(record: dict[str, Any], source: str, tokens: list[bytes], scale: float) -> Example:
    values = [0.0] * len(tokens)
    for offset, value in zip(record["offsets"], record["values"], strict=True):
        values[offset] = value
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
        tokens=highlight(tokens, values, scale, record["position"] - record["start"]),
    )
