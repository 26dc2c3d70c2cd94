"""The search: features that have all the words of a query, and features that mean the same.

Words are looked for in labels, at the peaks of examples, among promoted tokens and around the peaks; every word is
found by its beginning, see data/published/terms.py. What means the same is near by the cosine of a sentence encoder's
vectors. Both are ranked together, see relevance.py. A search costs a fixed number of reads and goes through MAX_FOUND
features that have the words, and MAX_MEANT that are near: further ones are not counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from backend.html.address import EmptyIsNone, PagedAddress
from backend.html.formats import as_share
from backend.html.tokens import token_text
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.features import NOT_MINOR, SUMMARY, FeatureSummary, get_summaries, quoted, to_summaries
from backend.published.marking import Segment, mark
from backend.published.relevance import MEANT, Ranked, rank
from backend.published.selection import Kind
from data.published.schemas import SEARCH_FIELDS, SearchField
from data.published.terms import forms, query_words

MAX_FOUND = 500
"""Features with the words that one search goes through, from the best match on."""
MAX_MEANT = 60
"""Features near to what was typed that it goes through."""
TEXTS_SHOWN = 2
FoundBy = Literal["label", "peaks", "promoted", "examples", "meaning"]
"""What a feature is found by: the words in one of the fields, or its meaning."""
Vector = npt.NDArray[np.float32]
"""Of what was typed, by the encoder of the run's meanings."""


class WordSearch(PagedAddress):
    """The query string of a search: words, fields and filters."""

    q: str = Field(default="", max_length=200)
    """Words. Each is found by its beginning; a feature must have all of them in one place."""
    within: Annotated[FoundBy | None, EmptyIsNone] = Field(default=None, alias="in")
    """The field to search: labels, the words where a feature is strongest, promoted tokens, the words around the
    strongest tokens, or the meaning of all; every one by default."""
    sae: str = Field(default="", max_length=200)
    """Name of the only SAE to look in."""
    kind: Annotated[Kind | None, EmptyIsNone] = None
    """Which features are looked for, see the lists of features: live, rare, negligible, dead (which are found by
    promoted tokens alone), active (all but dead ones) or all. Without it `alive` and `minor` decide: by default live
    ones."""
    alive: Literal["true", "false", "all"] = "true"
    """true: only features that are not dead; false: only dead ones. Without effect beside `kind`."""
    minor: bool = False
    """Whether rare and negligible features are found too. Without effect beside `kind`."""
    min_density: float | None = Field(default=None, ge=0, le=1)
    """Share of tokens on which a feature is active, at least."""
    max_density: float | None = Field(default=None, ge=0, le=1)
    """At most."""
    page: int = Field(default=1, ge=1, le=10_000_000)
    per_page: int = Field(default=20, ge=1, le=100)

    _share = field_validator("min_density", "max_density", mode="before")(as_share)

    @property
    def shown(self) -> Kind:
        """The kind that is looked for, whether it was named or follows from `alive` and `minor`."""
        if self.kind:
            return self.kind
        if self.alive == "true":
            return "active" if self.minor else "live"
        return "dead" if self.alive == "false" else "all"

    def named(self) -> "WordSearch":
        """The same search, on the same page, with its kind in place of `alive` and `minor`."""
        kind = None if self.shown == "live" else self.shown
        return self.changed(kind=kind, alive="true", minor=False, page=self.page)

    @property
    def words(self) -> list[str]:
        """The words as they are compared; none when nothing was typed that could be found."""
        return query_words(self.q)

    @property
    def fields(self) -> tuple[SearchField, ...]:
        """The fields in which words are looked for."""
        if self.within == "meaning":
            return ()
        return (self.within,) if self.within else SEARCH_FIELDS

    @property
    def by_meaning(self) -> bool:
        """Whether features are looked for that mean the same: of dead ones nothing is known that could."""
        return self.within in (None, "meaning") and self.shown in ("live", "active")


OF_KIND: dict[Kind, str] = {
    "live": NOT_MINOR,
    "rare": "(rare AND alive)",
    "negligible": "(negligible AND NOT rare AND alive)",
    "dead": "NOT alive",
    "active": "alive",
}
"""The condition of each kind that has one, by the columns of table `search`."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A feature that was found, and by what."""

    feature: FeatureSummary
    score: float
    """The value that it is ranked by, see docs/method.md."""
    cosine: float | None
    """Of its meaning to that of what was typed; None unless they are near."""
    found_in: list[FoundBy]
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
    """Whether more have the words, beyond the limit of the search."""
    page: int
    per_page: int
    hits: list[SearchHit]


def search(run: OpenRun, asked: WordSearch, vector: Vector | None = None) -> SearchResult:
    """The features of a run that have the words or mean the same, the best first. The SAE must be one of the run or "".

    vector: of what was typed; without it, words alone are searched.
    """
    ranked, more = _ranked(run, asked, vector, None)
    first = (asked.page - 1) * asked.per_page
    hits = _hits(run, asked, ranked[first : first + asked.per_page])
    return SearchResult(asked.words, len(ranked), more, asked.page, asked.per_page, hits)


def matching_rows(
    run: OpenRun, asked: WordSearch, saes: Sequence[OpenSAE], limit: int, vector: Vector | None = None
) -> list[int]:
    """Rows of the first `limit` features that the same search finds in some SAEs."""
    return [one.row for one in _ranked(run, asked, vector, saes)[0][:limit]]


def _ranked(
    run: OpenRun, asked: WordSearch, vector: Vector | None, saes: Sequence[OpenSAE] | None
) -> tuple[list[Ranked], bool]:
    """What is found, in some SAEs or in all that are asked for, and whether more have the words."""
    if not asked.words:
        return [], False
    found: list[int] = []
    if asked.fields:
        condition = " AND ".join([*_on_activity(asked), *_on_place(asked, saes)]) or None
        found = [row for row, _ in run.tables.search(asked.words, asked.fields, condition, MAX_FOUND + 1)]
    meant: dict[int, float] = {}
    if vector is not None and asked.by_meaning and run.tables.meaning_width:
        condition = " AND ".join(_on_place(asked, saes)) or None
        nearest = run.tables.nearest_meanings(vector, condition, MAX_MEANT)
        meant = {row: cosine for row, cosine in nearest if cosine >= MEANT}
    named = _named(run, asked, saes)
    ranked = rank(run, asked.words, [*named, *found[:MAX_FOUND]], meant)
    # What an owner's label names so comes first.
    return sorted(ranked, key=lambda one: one.row not in named), len(found) > MAX_FOUND


def _named(run: OpenRun, asked: WordSearch, saes: Sequence[OpenSAE] | None) -> set[int]:
    """Rows of the features that an owner's label names so, within the filters."""
    if asked.within not in (None, "label") or asked.shown == "dead":
        return set()
    chosen = {sae.name: sae for sae in (run.saes if saes is None else saes) if asked.sae in ("", sae.name)}
    rows = [chosen[sae].row(index) for sae, index in run.corrections.matching(asked.words) if sae in chosen]
    if not rows:
        return set()
    low, high = asked.min_density or 0.0, 1.0 if asked.max_density is None else asked.max_density
    found = [f for f in get_summaries(run, rows) if _is_asked(asked.shown, f) and low <= f.density <= high]
    return {chosen[f.sae].row(f.index) for f in found if not f.dead}


def _is_asked(kind: Kind, feature: FeatureSummary) -> bool:
    return kind in ("all", feature.kind or "live") or (kind == "active" and not feature.dead)


def _on_activity(asked: WordSearch) -> list[str]:
    """Conditions in SQL on what only table `search` knows: all features with a meaning are live."""
    return [OF_KIND[asked.shown]] if asked.shown in OF_KIND else []


def _on_place(asked: WordSearch, saes: Sequence[OpenSAE] | None) -> list[str]:
    """Conditions in SQL on SAE and density."""
    parts = []
    if saes is not None:
        parts.append(f"sae IN ({', '.join(quoted(sae.name) for sae in saes)})")
    if asked.sae:
        parts.append(f"sae = {quoted(asked.sae)}")
    if asked.min_density is not None:
        parts.append(f"density >= {asked.min_density!r}")
    if asked.max_density is not None:
        parts.append(f"density <= {asked.max_density!r}")
    return parts


def _hits(run: OpenRun, asked: WordSearch, ranked: Sequence[Ranked]) -> list[SearchHit]:
    rows = [one.row for one in ranked]
    records = run.tables.take("features", rows, [*SUMMARY, "promoted"])
    found = run.tables.take("search", rows, ["texts", "peak_words"]).to_pylist()
    labels, promoted = records["label"].to_pylist(), records["promoted"].to_pylist()
    tokens = [[run.tables.vocabulary[token] for token in some] for some in promoted]
    return [
        _hit(feature, asked, one, label, pieces, record["peak_words"], record["texts"])
        for feature, one, label, pieces, record in zip(
            to_summaries(run, records), ranked, labels, tokens, found, strict=True
        )
    ]


def _hit(
    feature: FeatureSummary,
    asked: WordSearch,
    ranked: Ranked,
    label: str,
    tokens: list[bytes],
    peaks: list[str],
    texts: list[str],
) -> SearchHit:
    pieces: dict[SearchField, list[str]] = {
        "label": [label, feature.owner_label],
        "peaks": peaks,
        "promoted": [token.decode(errors="ignore") for token in tokens],
        "examples": texts,
    }
    found_in: list[FoundBy] = [name for name in asked.fields if _has_all(pieces[name], asked.words)]
    marks = {name: asked.words if name in found_in else [] for name in SEARCH_FIELDS}
    around = marks["examples"] or marks["peaks"]
    return SearchHit(
        feature=feature,
        score=ranked.score,
        cosine=ranked.cosine,
        found_in=[*found_in, "meaning"] if ranked.cosine is not None else found_in,
        label=mark(feature.owner_label or label, marks["label"]) or [Segment(feature.title, False)],
        promoted=[mark(token_text(token), marks["promoted"]) for token in tokens],
        texts=[mark(text, around) for text in _best(texts, around)],
    )


def _has_all(texts: Iterable[str], wanted: Sequence[str]) -> bool:
    found = {form for text in texts for form in forms(text)}
    return all(any(form.startswith(word) for form in found) for word in wanted)


def _best(texts: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The texts to show: those with most of the words, the stronger first, or the strongest."""
    if not wanted:
        return list(texts[:1])
    counts = {text: sum(_has_all([text], [word]) for word in wanted) for text in dict.fromkeys(texts)}
    best = sorted((text for text in counts if counts[text]), key=lambda text: -counts[text])
    return best[:TEXTS_SHOWN] or list(texts[:1])
