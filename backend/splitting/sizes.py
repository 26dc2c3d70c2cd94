"""Feature splitting: the relatives of a feature in every size, and the features of one size that another one lacks.

A relative is a live feature (neither dead, rare nor negligible) whose decoder direction has a cosine with the feature's
of at least a threshold. The features that are counted are live ones; with `minor` rare and negligible ones count too,
and a family shows them. Sizes are compared by the number of features: an SAE of the same size and another architecture
is looked through like any other, but is neither smaller nor larger, so nothing there is a parent of the other's
features.

Shapes: N features of a family, S SAEs, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np

from backend.published.arrays import Floats, Integers
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.features import NOT_MINOR, SUMMARY, FeatureSummary, to_summaries
from data.artifacts.features import COSINE_BINS, cosine_column

NewFeatureOrder = Literal["max", "density", "cosine"]


def by_size(run: OpenRun) -> list[OpenSAE]:
    """The SAEs of a run from small to large."""
    return sorted(run.saes, key=lambda sae: (sae.num_features, sae.record.position))


# ---- all features of a run


def means(run: OpenRun) -> Floats:
    """Mean decoder direction of the live features of each SAE [S, D]."""
    return run.once(_read_splitting).means_SD


def distributions(run: OpenRun, *, minor: bool = False) -> Integers:
    """Features of each SAE by their highest cosine with each SAE: [S, S, COSINE_BINS]."""
    read = run.once(_read_splitting)
    return read.counts_SSB + read.minor_counts_SSB if minor else read.counts_SSB


def num_counted(run: OpenRun, *, minor: bool = False) -> list[int]:
    """Features of each SAE that are compared."""
    read = run.once(_read_splitting)
    return [live + (rest if minor else 0) for live, rest in zip(read.num_live_S, read.num_minor_S, strict=True)]


def count_new(run: OpenRun, threshold: float, *, minor: bool = False) -> Integers:
    """For each SAE and each other one, the features without a relative there [S, S]."""
    below = COSINE_BINS // 2 + round(threshold * (COSINE_BINS // 2))
    return cast(Integers, distributions(run, minor=minor)[:, :, :below].sum(2))


@dataclass(frozen=True)
class NewFeature:
    """A feature that another size lacks."""

    feature: FeatureSummary
    cosine: float
    """With its nearest live feature there; the highest where several SAEs are compared."""


@dataclass(frozen=True)
class NewFeatures:
    """One page of them."""

    total: int
    page: int
    per_page: int
    features: list[NewFeature]


def smaller_than(sae: OpenSAE) -> list[OpenSAE]:
    """The SAEs of the run with fewer features."""
    return [other for other in by_size(sae.run) if other.num_features < sae.num_features]


def new_features(
    sae: OpenSAE,
    others: Sequence[OpenSAE],
    threshold: float,
    page: int,
    per_page: int,
    order: NewFeatureOrder = "max",
    *,
    minor: bool = False,
) -> NewFeatures:
    """Features of an SAE without a relative in any of the others, a page of them.

    Order: the highest maximum or density first, or the lowest cosine with the last of the others.
    """
    columns = [cosine_column(other.record.position) for other in others]
    tables, condition = sae.run.tables, new_condition(sae, others, threshold, minor=minor)
    first, wanted = (page - 1) * per_page, [*SUMMARY, *columns]
    sort, descending = (columns[-1], False) if order == "cosine" else (order, True)
    found = tables.list_features(condition, wanted, sort=sort, descending=descending, limit=per_page, offset=first)
    best_N = np.max([found[column].to_numpy() for column in columns], axis=0).tolist()
    features = [NewFeature(*pair) for pair in zip(to_summaries(sae.run, found), best_N, strict=True)]
    return NewFeatures(tables.count_features(condition), page, per_page, features)


def count_new_in_none(sae: OpenSAE, others: Sequence[OpenSAE], threshold: float, *, minor: bool = False) -> int:
    """The number of features that have a relative in none of the others."""
    return sae.run.tables.count_features(new_condition(sae, others, threshold, minor=minor))


def new_condition(sae: OpenSAE, others: Sequence[OpenSAE], threshold: float, *, minor: bool = False) -> str:
    """The condition in LanceDB's SQL. The threshold is rounded as cosines and the edges of their bins are."""
    limit = float(np.float32(threshold))
    name = sae.name.replace("'", "''")
    parts = [f"sae = '{name}'", "num_active > 0" if minor else NOT_MINOR]
    return " AND ".join([*parts, *(f"{cosine_column(other.record.position)} < {limit!r}" for other in others)])


class _Splitting(NamedTuple):
    """The table `splitting` of S SAEs of width D."""

    means_SD: Floats
    num_live_S: list[int]
    num_minor_S: list[int]
    counts_SSB: Integers
    minor_counts_SSB: Integers


def _read_splitting(run: OpenRun) -> _Splitting:
    size = len(run.saes)
    table = run.tables.take("splitting", range(size))
    return _Splitting(
        np.array(table["mean"].to_pylist(), np.float64),
        table["num_live"].to_pylist(),
        table["num_minor"].to_pylist(),
        *(
            np.array(table[name].to_pylist(), np.int64).reshape(size, size, COSINE_BINS)
            for name in ("counts", "minor_counts")
        ),
    )
