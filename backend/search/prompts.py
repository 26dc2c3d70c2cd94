"""Features that are active in all of some prompts and in none of others.

A feature's part in a prompt is its highest activation there, left-out tokens apart, as a share of its highest in the
corpus. Arrays are sparse: only features that are active in the prompts are read from the tables, in one read.

Shapes: P positive and N negative prompts, U features active in any positive prompt, A features active in one prompt.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa

from backend.engine.messages import PromptReading
from backend.prompts.ranking import shares
from backend.published.arrays import Booleans, Floats, Integers
from backend.published.catalogue import OpenSAE
from backend.published.features import SUMMARY, FeatureSummary, to_summaries

MatchOrder = Literal["rare", "weakest"]
MATCH_ORDERS: dict[MatchOrder, tuple[str, str]] = {
    "rare": ("Rare and strong", "By the mean share over the positive prompts, each at most 1, × −ln(density)."),
    "weakest": ("Weakest positive", "By the share in the positive prompt where it is lowest."),
}
"""Title and explanation of each order."""


@dataclass(frozen=True)
class Criteria:
    """The criteria of a match. Shares are of the feature's highest activation in the corpus."""

    at_least: float = 0.1
    """In every positive prompt: above 0, and this share or more."""
    at_most: float = 0.05
    """In every negative prompt: this share or less."""
    hide: float = 0.2
    """Features active on a larger share of the corpus's tokens are left out."""


@dataclass(frozen=True)
class Match:
    """A feature that was found."""

    feature: FeatureSummary
    score: float
    """The value that it is ranked by."""
    positive: list[float]
    """Its share in each positive prompt."""
    negative: list[float]
    """Its share in each negative prompt."""

    @property
    def weakest(self) -> float:
        """Its lowest share in a positive prompt."""
        return min(self.positive)


@dataclass(frozen=True)
class Step:
    """The effect of one prompt on the result."""

    positive: bool
    place: int
    """Among the positive, or the negative, prompts."""
    left: int
    """Features that satisfy it and those before it."""
    removed: int
    """The number of features that it removes; 0 for the first."""
    without: int | None
    """Features that would be found without it; None for an only positive prompt."""


@dataclass(frozen=True)
class Relaxed:
    """Other criteria, under which something is found."""

    criteria: Criteria
    total: int


@dataclass(frozen=True)
class Found:
    """The result of a search by prompts."""

    total: int
    matches: list[Match]
    """The first of them."""
    hidden: int
    """Features that match but are hidden because they are active too often."""
    steps: list[Step]
    """The positive prompts, then the negative."""
    relaxed: list[Relaxed]
    """The smallest changes of one criterion that find something; only when nothing is found."""


@dataclass(frozen=True)
class Table:
    """The features that are active in any positive prompt, and their part in every prompt."""

    records_U: pa.Table
    """Columns SUMMARY."""
    row_U: Integers
    density_U: Floats
    positive_PU: Floats
    """Shares."""
    negative_NU: Floats


def tabulate(
    saes: Sequence[OpenSAE],
    positive: Sequence[PromptReading],
    negative: Sequence[PromptReading],
    *,
    minor: bool = False,
) -> Table:
    """Put readings of some SAEs of one run together, with one read of its tables. minor: features not live too."""
    peaks = [_peaks(saes, reading) for reading in (*positive, *negative)]
    row_U = np.unique(np.concatenate([row_A for row_A, _ in peaks[: len(positive)]]))
    run = saes[0].run
    records_U = run.tables.take("features", row_U.tolist(), SUMMARY)
    if not minor:
        live_U = ~_minor(records_U)
        records_U, row_U = records_U.filter(pa.array(live_U)), row_U[live_U]
    max_U = np.asarray(records_U["max"].to_numpy(), np.float64)
    density_U = np.asarray(records_U["density"].to_numpy(), np.float64)
    shares_U = [shares(_spread(row_U, *one), max_U) for one in peaks]
    return Table(
        records_U=records_U,
        row_U=row_U,
        density_U=np.maximum(density_U, 1 / run.num_tokens),
        positive_PU=np.array(shares_U[: len(positive)]).reshape(-1, len(row_U)),
        negative_NU=np.array(shares_U[len(positive) :]).reshape(-1, len(row_U)),
    )


def find(saes: Sequence[OpenSAE], table: Table, criteria: Criteria, order: MatchOrder, limit: int) -> Found:
    """The features that satisfy the criteria, best first; ties come by row."""
    hit_PU, clear_NU = _hits(table, criteria)
    shown_U = table.density_U <= criteria.hide
    fits_U = hit_PU.all(axis=0) & clear_NU.all(axis=0)
    score_U = _scores(table, order)
    chosen = np.lexsort((table.row_U, -score_U))
    chosen = chosen[(fits_U & shown_U)[chosen]]
    total = len(chosen)
    features = to_summaries(saes[0].run, table.records_U.take(pa.array(chosen[:limit])))
    matches = [
        Match(feature, float(score_U[u]), table.positive_PU[:, u].tolist(), table.negative_NU[:, u].tolist())
        for feature, u in zip(features, chosen[:limit].tolist(), strict=True)
    ]
    steps = _steps(hit_PU[:, shown_U], clear_NU[:, shown_U])
    return Found(total, matches, int((fits_U & ~shown_U).sum()), steps, [] if total else _relax(table, criteria))


def _minor(records_U: pa.Table) -> Booleans:
    """Features that are rare, negligible or, in the corpus, dead."""
    rare_U, negligible_U = (records_U[name].to_numpy() for name in ("rare", "negligible"))
    minor_U: Booleans = rare_U | negligible_U | (records_U["num_active"].to_numpy() == 0)
    return minor_U


def _peaks(saes: Sequence[OpenSAE], reading: PromptReading) -> tuple[Integers, Floats]:
    """Rows of the features active in a prompt, ascending, and the highest activation of each."""
    found = [(sae, reading.active[sae.name]) for sae in saes]
    row_K = np.concatenate([sae.row(0) + active.feature_K for sae, active in found])
    value_K = np.concatenate([active.value_K for _, active in found]).astype(np.float64)
    row_A, place_K = np.unique(row_K, return_inverse=True)
    peak_A = np.zeros(len(row_A))
    np.maximum.at(peak_A, place_K, value_K)
    return row_A, peak_A


def _spread(row_U: Integers, row_A: Integers, value_A: Floats) -> Floats:
    """Values of the rows in U, 0 where there is none."""
    place_U = np.minimum(np.searchsorted(row_A, row_U), max(0, len(row_A) - 1))
    if len(row_A) == 0:
        return np.zeros(len(row_U))
    return np.where(row_A[place_U] == row_U, value_A[place_U], 0.0)


def _hits(table: Table, criteria: Criteria) -> tuple[Booleans, Booleans]:
    """Masks of the features that satisfy each positive, and each negative, prompt."""
    hit_PU = (table.positive_PU >= criteria.at_least) & (table.positive_PU > 0)
    return hit_PU, table.negative_NU <= criteria.at_most


def _scores(table: Table, order: MatchOrder) -> Floats:
    if order == "weakest":
        return _weakest(table)
    share_U: Floats = np.minimum(table.positive_PU, 1.0).mean(axis=0)
    return share_U * -np.log(table.density_U)


def _weakest(table: Table) -> Floats:
    """The lowest share in a positive prompt."""
    weakest_U: Floats = table.positive_PU.min(axis=0)
    return weakest_U


def _steps(hit_PU: Booleans, clear_NU: Booleans) -> list[Step]:
    """The effect of each prompt in order, and the number of features that would be found without it."""
    ok_SU = np.concatenate([hit_PU, clear_NU])
    satisfied_U = ok_SU.sum(axis=0)
    left_S = np.logical_and.accumulate(ok_SU, axis=0).sum(axis=1).tolist()
    before_S = [left_S[0], *left_S[:-1]]
    without_S = ((satisfied_U - ok_SU) == len(ok_SU) - 1).sum(axis=1).tolist()
    num_positive = len(hit_PU)
    return [
        Step(
            positive=place < num_positive,
            place=place if place < num_positive else place - num_positive,
            left=left,
            removed=before - left,
            without=None if num_positive == 1 and place == 0 else without,
        )
        for place, (left, before, without) in enumerate(zip(left_S, before_S, without_S, strict=True))
    ]


def _relax(table: Table, criteria: Criteria) -> list[Relaxed]:
    """The smallest change of each criterion alone that finds something, rounded to two digits."""
    hit_PU, clear_NU = _hits(table, criteria)
    hit_U, clear_U, shown_U = hit_PU.all(axis=0), clear_NU.all(axis=0), table.density_U <= criteria.hide
    weakest_U = _weakest(table)
    changed = []
    if len(nearly := weakest_U[clear_U & shown_U & (weakest_U > 0)]):
        changed.append(replace(criteria, at_least=_rounded(float(nearly.max()), math.floor)))
    if len(leaks := table.negative_NU.max(axis=0, initial=0)[hit_U & shown_U]):
        changed.append(replace(criteria, at_most=_rounded(float(leaks.min()), math.ceil)))
    if (hit_U & clear_U).any():
        changed.append(replace(criteria, hide=1.0))
    return [Relaxed(other, _count(table, other)) for other in changed]


def _count(table: Table, criteria: Criteria) -> int:
    hit_PU, clear_NU = _hits(table, criteria)
    fits_U = hit_PU.all(axis=0) & clear_NU.all(axis=0) & (table.density_U <= criteria.hide)
    return int(fits_U.sum())


def _rounded(value: float, towards: Callable[[float], int]) -> float:
    """Two significant digits, downwards or upwards."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{towards(value / step) * step:.6g}")
