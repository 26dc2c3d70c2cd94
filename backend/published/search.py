"""Search by words: features whose label, promoted tokens or example texts have all the words of a query.

Every word is found by its beginning, see data/published/terms.py. A search costs a fixed number of reads and ends
at MAX_FOUND features: further matches are not counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator

from backend.html.address import EmptyIsNone, PagedAddress
from backend.html.formats import as_share
from backend.html.tokens import token_text, visible_text
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.features import NOT_MINOR, SUMMARY, FeatureSummary, get_summaries, quoted, to_summaries
from data.published.schemas import SEARCH_FIELDS, SearchField
from data.published.terms import query_words, words

MAX_FOUND = 500
"""Features that one search goes through, from the best match on."""
TEXTS_SHOWN = 2
OWNER_SCORE = 1000.0
"""Score of what an owner's label names, above any of BM25."""


class WordSearch(PagedAddress):
    """The query string of a search: words, fields and filters."""

    q: str = Field(default="", max_length=200)
    """Words. Each is found by its beginning; a feature must have all of them in one place."""
    within: Annotated[SearchField | None, EmptyIsNone] = Field(default=None, alias="in")
    """The field to search: labels, promoted tokens, or the words around the strongest tokens; all three by default."""
    sae: str = Field(default="", max_length=200)
    """Name of the only SAE to look in."""
    alive: Literal["true", "false", "all"] = "true"
    """true: only features that were active; false: only dead ones, which are found by promoted tokens alone."""
    minor: bool = False
    """Whether negligible features are found too, see the lists of features."""
    min_density: float | None = Field(default=None, ge=0, le=1)
    """Share of tokens on which a feature is active, at least."""
    max_density: float | None = Field(default=None, ge=0, le=1)
    """At most."""
    page: int = Field(default=1, ge=1, le=10_000_000)
    per_page: int = Field(default=20, ge=1, le=100)

    _share = field_validator("min_density", "max_density", mode="before")(as_share)

    @property
    def words(self) -> list[str]:
        """The words as they are compared; none when nothing was typed that could be found."""
        return query_words(self.q)

    @property
    def fields(self) -> tuple[SearchField, ...]:
        """The fields to search."""
        return (self.within,) if self.within else SEARCH_FIELDS


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a text."""

    text: str
    hit: bool
    """Whether it matches a word of the search."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A feature that was found, and by what."""

    feature: FeatureSummary
    score: float
    """Sum of BM25 over the fields by weight, see docs/method.md."""
    found_in: list[SearchField]
    label: list[Segment]
    promoted: list[list[Segment]]
    """The tokens that it promotes, most promoted first."""
    texts: list[list[Segment]]
    """Around its strongest tokens: where the words are, or around the strongest of all."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page of what was found."""

    words: list[str]
    """The words of the search, as they are compared."""
    total: int
    more: bool
    """Whether there are more than `total`, beyond the limit of the search."""
    page: int
    per_page: int
    hits: list[SearchHit]


def search(run: OpenRun, asked: WordSearch) -> SearchResult:
    """The features of a run that have the words, the best match first. The SAE must be one of the run or ""."""
    places = _places(run, asked, MAX_FOUND + 1)
    total, more = min(len(places), MAX_FOUND), len(places) > MAX_FOUND
    first = (asked.page - 1) * asked.per_page
    hits = _hits(run, asked, places[:MAX_FOUND][first : first + asked.per_page])
    return SearchResult(asked.words, total, more, asked.page, asked.per_page, hits)


def matching_rows(run: OpenRun, asked: WordSearch, saes: Sequence[OpenSAE], limit: int) -> list[int]:
    """Rows of at most `limit` features of some SAEs that have the words, the best match first. One read."""
    return [row for row, _ in _places(run, asked, limit, saes)]


def _places(
    run: OpenRun, asked: WordSearch, limit: int, saes: Sequence[OpenSAE] | None = None
) -> list[tuple[int, float]]:
    """Row and score of what is found, in some SAEs or in all that are asked for."""
    if not asked.words:
        return []
    found = run.tables.search(asked.words, asked.fields, _condition(asked, saes), limit)
    named = _named(run, asked, saes)
    return [*named, *(pair for pair in found if pair[0] not in dict(named))][:limit]


def _named(run: OpenRun, asked: WordSearch, saes: Sequence[OpenSAE] | None) -> list[tuple[int, float]]:
    """Row and score of what an owner's label names so, within the filters: these come first."""
    if asked.within not in (None, "label") or asked.alive == "false":
        return []
    chosen = {sae.name: sae for sae in (run.saes if saes is None else saes) if asked.sae in ("", sae.name)}
    rows = [chosen[sae].row(index) for sae, index in run.corrections.matching(asked.words) if sae in chosen]
    if not rows:
        return []
    low, high = asked.min_density or 0.0, 1.0 if asked.max_density is None else asked.max_density
    found = [f for f in get_summaries(run, rows) if (asked.minor or not f.minor) and low <= f.density <= high]
    return [(chosen[f.sae].row(f.index), OWNER_SCORE) for f in found if not f.dead]


def _condition(asked: WordSearch, saes: Sequence[OpenSAE] | None) -> str | None:
    parts = []
    if saes is not None:
        parts.append(f"sae IN ({', '.join(quoted(sae.name) for sae in saes)})")
    if asked.sae:
        parts.append(f"sae = {quoted(asked.sae)}")
    if asked.alive != "all":
        parts.append(f"alive = {asked.alive}")
    if not asked.minor:
        parts.append(NOT_MINOR)
    if asked.min_density is not None:
        parts.append(f"density >= {asked.min_density!r}")
    if asked.max_density is not None:
        parts.append(f"density <= {asked.max_density!r}")
    return " AND ".join(parts) or None


def _hits(run: OpenRun, asked: WordSearch, places: Sequence[tuple[int, float]]) -> list[SearchHit]:
    rows = [row for row, _ in places]
    records = run.tables.take("features", rows, [*SUMMARY, "promoted"])
    texts = run.tables.take("search", rows, ["texts"])["texts"].to_pylist()
    labels, promoted = records["label"].to_pylist(), records["promoted"].to_pylist()
    return [
        _hit(feature, asked, label, [run.tables.vocabulary[token] for token in tokens], some, score)
        for feature, label, tokens, some, (_, score) in zip(
            to_summaries(run, records), labels, promoted, texts, places, strict=True
        )
    ]


def _hit(
    feature: FeatureSummary, asked: WordSearch, label: str, tokens: list[bytes], texts: list[str], score: float
) -> SearchHit:
    pieces: dict[SearchField, list[str]] = {
        "label": [label, feature.owner_label],
        "promoted": [token.decode(errors="ignore") for token in tokens],
        "examples": texts,
    }
    found_in = [name for name in asked.fields if _has_all(pieces[name], asked.words)]
    marks = {name: asked.words if name in found_in else [] for name in SEARCH_FIELDS}
    return SearchHit(
        feature=feature,
        score=score,
        found_in=found_in,
        label=mark(feature.owner_label or label, marks["label"]) or [Segment(feature.title, False)],
        promoted=[mark(token_text(token), marks["promoted"]) for token in tokens],
        texts=[mark(text, marks["examples"]) for text in _best(texts, marks["examples"])],
    )


def mark(text: str, wanted: Sequence[str]) -> list[Segment]:
    """A text in pieces, those that begin as a wanted word does marked; invisible characters are made visible."""
    segments, shown = [], 0
    for word in words(text):
        if word.form.startswith(tuple(wanted)):
            if word.start > shown:
                segments.append(Segment(visible_text(text[shown : word.start]), False))
            segments.append(Segment(visible_text(text[word.start : word.stop]), True))
            shown = word.stop
    if shown < len(text):
        segments.append(Segment(visible_text(text[shown:]), False))
    return segments


def _has_all(texts: Iterable[str], wanted: Sequence[str]) -> bool:
    forms = {word.form for text in texts for word in words(text)}
    return all(any(form.startswith(word) for form in forms) for word in wanted)


def _best(texts: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The texts to show: those with most of the words, the stronger first, or the strongest."""
    if not wanted:
        return list(texts[:1])
    counts = {text: sum(_has_all([text], [word]) for word in wanted) for text in dict.fromkeys(texts)}
    return sorted((text for text in counts if counts[text]), key=lambda text: -counts[text])[:TEXTS_SHOWN]
