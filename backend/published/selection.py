"""Lists of features, filtered, sorted and paged; LanceDB filters and sorts."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field, PlainSerializer, field_validator

from backend.html.address import EmptyIsNone, PagedAddress
from backend.html.formats import as_share
from backend.html.page import Link
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.features import NOT_MINOR, SUMMARY, FeatureSummary, get_summaries, quoted, to_summaries
from data.published.memory import Memory
from data.published.tables import Sort

TOTALS_CACHED = 1000
RANDOM_DRAWS = 64
"""Features drawn at once in search of a live one."""

Score = Literal["label_precision", "label_recall", "specificity", "highest_r", "interest"]
"""Scores that not every SAE has."""
Kind = Literal["live", "rare", "negligible", "dead", "active", "all"]
"""Which features a list holds; active: all but dead ones."""
OF_KIND: dict[Kind, str] = {
    "live": NOT_MINOR,
    "rare": "(rare AND num_active > 0)",
    "negligible": "(negligible AND NOT rare AND num_active > 0)",
    "dead": "num_active = 0",
    "active": "num_active > 0",
}
"""The condition of each that has one, as FeatureSummary.kind says."""
KIND_TITLES: dict[Kind, str] = {
    "live": "live",
    "rare": "rare",
    "negligible": "negligible",
    "dead": "dead",
    "active": "all but dead",
    "all": "all",
}
Choice = Annotated[Annotated[bool, PlainSerializer(str)] | None, EmptyIsNone]
"""Yes, no, or either; links say True and False."""


class Selection(PagedAddress):
    """The query string of a list of features: filters, order and page."""

    sort: Sort = "interest"
    """Ties come by index."""
    order: Annotated[Literal["asc", "desc"] | None, EmptyIsNone] = None
    """None is the natural one: labels and indices ascend, numbers descend."""
    page: int = Field(default=1, ge=1, le=10_000_000)
    per_page: int = Field(default=50, ge=1, le=200)
    kind: Annotated[Kind | None, EmptyIsNone] = None
    """Which features are listed: live, rare (active on fewer tokens than the recipe's `examples.rare_tokens`),
    negligible (not rare, but their squared activations, summed, are less than a thousandth of an equal share of their
    SAE's), dead, active (all but dead ones) or all. Without it `alive` and `minor` decide: by default live ones."""
    alive: Choice = None
    """True: only features that are not dead; False: only dead ones. Without effect beside `kind`."""
    labelled: Choice = None
    """True: only features with a label; False: only those without."""
    min_density: float | None = Field(default=None, ge=0, le=1)
    """Share of tokens on which a feature is active, at least."""
    max_density: float | None = Field(default=None, ge=0, le=1)
    """At most."""
    minor: bool = False
    """Whether features that are not live are listed too: dead, rare and negligible ones. With alive=false dead ones are
    listed in any case. Without effect beside `kind`."""
    q: str = Field(default="", max_length=200)
    """Part of the label, in any case."""

    _share = field_validator("min_density", "max_density", mode="before")(as_share)

    @property
    def shown(self) -> Kind:
        """The kind that is listed, whether it was named or follows from `alive` and `minor`."""
        if self.kind:
            return self.kind
        if self.alive is False:
            return "dead"
        return "live" if not self.minor else "active" if self.alive else "all"

    def named(self) -> "Selection":
        """The same list, on the same page, with its kind in place of `alive` and `minor`."""
        kind = None if self.shown == "live" else self.shown
        return self.changed(kind=kind, alive=None, minor=False, page=self.page)

    @property
    def descending(self) -> bool:
        return self.order == "desc" if self.order else self.sort not in {"index", "label"}


def kind_choices(shown: Kind) -> list[Link]:
    """Kinds of features, for a select: `href` is the value."""
    return [Link(title, kind, kind == shown) for kind, title in KIND_TITLES.items()]


@dataclass(frozen=True, slots=True)
class FeatureList:
    """One page of a list."""

    total: int
    """Features that satisfy the filters."""
    page: int
    per_page: int
    features: list[FeatureSummary]


def list_features(sae: OpenSAE, selection: Selection) -> FeatureList:
    """The features of one SAE that satisfy the filters."""
    return _list(sae.run, _condition([sae], selection), selection)


def scores_of(sae: OpenSAE) -> list[Score]:
    """The scores that at least one feature of an SAE has."""
    return [
        score
        for score in get_args(Score)
        if _total(sae.run, f"{_condition([sae], Selection(minor=True))} AND {score} IS NOT NULL")
    ]


def random_feature(saes: list[OpenSAE], seed: int | None = None, *, minor: bool = False) -> FeatureSummary | None:
    """A random live feature, or with `minor` any that was active; None when there is hardly any. All SAEs are of one
    run."""
    rng = np.random.default_rng(seed)
    sae = saes[int(rng.integers(len(saes)))]
    indices = rng.integers(sae.num_features, size=RANDOM_DRAWS)
    drawn = get_summaries(sae.run, [sae.row(int(index)) for index in indices])
    return next((feature for feature in drawn if not feature.dead and (minor or not feature.minor)), None)


def _list(run: OpenRun, condition: str, selection: Selection) -> FeatureList:
    first = (selection.page - 1) * selection.per_page
    total = _total(run, condition)
    found = run.tables.list_features(
        condition, SUMMARY, sort=selection.sort, descending=selection.descending, limit=selection.per_page, offset=first
    )
    return FeatureList(total, selection.page, selection.per_page, to_summaries(run, found))


def _total(run: OpenRun, condition: str) -> int:
    """The number of features that satisfy a condition; cached, for a published state never changes."""
    known = run.once(_known_totals)
    total = known.get(condition)
    if total is None:
        total = run.tables.count_features(condition)
        known.put({condition: total})
    return total


def _known_totals(run: OpenRun) -> Memory[str, int]:
    """Totals of a run that were counted, by condition; empty at first."""
    return Memory(TOTALS_CACHED)


def _condition(saes: list[OpenSAE], selection: Selection) -> str:
    parts = [f"sae IN ({', '.join(quoted(sae.name) for sae in saes)})"]
    if selection.shown in OF_KIND:
        parts.append(OF_KIND[selection.shown])
    if selection.labelled is not None:
        parts.append(_labelled(saes, labelled=selection.labelled))
    if selection.min_density is not None:
        parts.append(f"density >= {selection.min_density!r}")
    if selection.max_density is not None:
        parts.append(f"density <= {selection.max_density!r}")
    if selection.q:
        own = f"contains(lower(label), {quoted(selection.q.lower())})"
        parts.append(_or_named(own, saes, saes[0].run.corrections.containing(selection.q)))
    return " AND ".join(parts)


def _labelled(saes: list[OpenSAE], *, labelled: bool) -> str:
    """The condition that a feature has a label, ours or an owner's, or that it has none."""
    condition = _or_named("label != ''", saes, saes[0].run.corrections.labelled())
    return condition if labelled else f"NOT ({condition})"


def _or_named(condition: str, saes: list[OpenSAE], named: list[tuple[str, int]]) -> str:
    """A condition, or that a feature is one of those named by SAE and index."""
    parts = [condition]
    for sae in saes:
        if indices := sorted(index for name, index in named if name == sae.name):
            parts.append(f"(sae = {quoted(sae.name)} AND `index` IN ({', '.join(map(str, indices))}))")
    return f"({' OR '.join(parts)})"
