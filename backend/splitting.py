"""Feature splitting: the relatives of a feature in every size, and the features of one size that another one lacks.

A relative is a live feature whose decoder direction has a cosine with the feature's of at least a threshold. Sizes are
compared by the number of features: an SAE of the same size and another architecture is looked through like any other,
but is neither smaller nor larger, so nothing there is a parent of the other's features.

Shapes: N features of a family, S SAEs, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from backend.catalogue import OpenRun, OpenSAE
from backend.queries import SUMMARY, FeatureSummary, Specimen, get_specimens, nearest_rows, to_summaries
from backend.showpieces import around
from data.records import COSINE_BINS, cosine_column

Floats = npt.NDArray[np.float64]

Order = Literal["max", "density", "cosine"]

SHOWN = 8
"""Relatives of a feature that are shown of each SAE, at most: the nearest."""
EXAMPLES = 2
CONTEXT = 9
"""Tokens on either side of an example's strongest."""


class Node(NamedTuple):
    """A feature to be laid out."""

    sae: OpenSAE
    row: int
    cosine: float


@dataclass(frozen=True)
class Relative:
    """A member of a family."""

    number: int
    """From 1, the smallest SAE first; the same at every threshold."""
    sae: OpenSAE
    specimen: Specimen
    focus: bool
    """Whether it is the feature whose family it is."""
    cosine: float
    """With the focus; 1 for the focus itself."""
    x: float
    y: float
    """Where it lies in the plane of the family, see `lay_out`."""
    parent: int | None = None
    """Number of its nearest relative in a smaller SAE, None when none is as near as the threshold."""
    parent_cosine: float = 0.0


class Count(NamedTuple):
    """How many relatives a feature has in one SAE."""

    number: int
    complete: bool
    """False when even the last of its published neighbours there is one: there may be more."""


@dataclass(frozen=True)
class Family:
    """A feature and its relatives, those of the smallest SAE first."""

    threshold: float
    members: list[Relative]
    """The nearest at or above the threshold, at most SHOWN of each SAE, and the focus."""
    counts: dict[str, Count]
    """Of all relatives, shown or not, by the name of the SAE."""
    nearest: Node | None
    """The nearest live feature of any SAE, near enough or not."""

    @property
    def focus(self) -> Relative:
        return next(member for member in self.members if member.focus)

    @property
    def total(self) -> Count:
        """Relatives in all SAEs."""
        numbers, complete = zip(*self.counts.values(), strict=True)
        return Count(sum(numbers), all(complete))


def by_size(run: OpenRun) -> list[OpenSAE]:
    """The SAEs of a run from small to large."""
    return sorted(run.saes, key=lambda sae: (sae.num_features, sae.record.position))


def get_family(sae: OpenSAE, index: int, threshold: float) -> Family:
    """The relatives of a feature in every SAE of its run, in six reads however many features there are."""
    near = _live_neighbours(sae, index)
    nodes = _nodes(sae, index, near)
    table = sae.run.tables.take("features", [node.row for node in nodes], ["vector"])
    vectors_ND = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(nodes), -1).astype(np.float64)
    places_N2 = lay_out(vectors_ND, [node.sae.record.position for node in nodes], means(sae.run))
    shown = [i for i, node in enumerate(nodes) if node.row == sae.row(index) or node.cosine >= threshold]
    specimens = get_specimens(sae.run, [nodes[i].row for i in shown], EXAMPLES)
    members = [
        Relative(
            number=i + 1,
            sae=nodes[i].sae,
            specimen=replace(specimen, examples=[around(example, CONTEXT) for example in specimen.examples]),
            focus=nodes[i].row == sae.row(index),
            cosine=nodes[i].cosine,
            x=float(places_N2[i, 0]),
            y=float(places_N2[i, 1]),
        )
        for i, specimen in zip(shown, specimens, strict=True)
    ]
    vectors_MD = vectors_ND[shown]
    return Family(
        threshold,
        _with_parents(members, vectors_MD @ vectors_MD.T, threshold),
        {name: _count(found, threshold) for name, found in near.items()},
        max((found.live[0] for found in near.values() if found.live), key=lambda node: node.cosine, default=None),
    )


class _Found(NamedTuple):
    """What is published of a feature's neighbours in one SAE."""

    live: list[Node]
    """The nearest first."""
    end: float
    """Cosine of the last one, dead or live; below it nothing is known. -1 when all features of the SAE are there."""


def _live_neighbours(sae: OpenSAE, index: int) -> dict[str, _Found]:
    """Those that are published, by the name of the SAE."""
    run, near = sae.run, nearest_rows(sae, index)
    rows = [row for pairs in near.values() for row, _ in pairs]
    live = iter((run.tables.take("features", rows, ["num_active"])["num_active"].to_numpy() > 0).tolist())
    saes, found = {other.name: other for other in run.saes}, {}
    for name, pairs in near.items():
        other = saes[name]
        whole = len(pairs) >= other.num_features - (other is sae)
        nodes = [Node(other, row, cosine) for row, cosine in pairs if next(live)]
        found[name] = _Found(nodes, -1.0 if whole else pairs[-1][1])
    return found


def _count(found: _Found, threshold: float) -> Count:
    return Count(sum(node.cosine >= threshold for node in found.live), found.end < threshold)


def _nodes(sae: OpenSAE, index: int, near: dict[str, _Found]) -> list[Node]:
    """The feature and its nearest live neighbours, the smallest SAE first."""
    nodes: list[Node] = []
    for other in by_size(sae.run):
        own = [Node(sae, sae.row(index), 1.0)] if other is sae else []
        nodes += [*own, *near[other.name].live[:SHOWN]]
    return nodes


def _with_parents(members: list[Relative], cosines_MM: Floats, threshold: float) -> list[Relative]:
    """The same, each with the nearest member of a smaller SAE that is a relative of its own."""
    found = []
    for place, member in enumerate(members):
        smaller = [i for i, other in enumerate(members) if other.sae.num_features < member.sae.num_features]
        nearest = max(((float(cosines_MM[place, i]), i) for i in smaller), default=(-1.0, -1))
        if nearest[0] >= threshold:
            member = replace(member, parent=members[nearest[1]].number, parent_cosine=nearest[0])
        found.append(member)
    return found


def lay_out(vectors_ND: Floats, positions: Sequence[int], means_SD: Floats) -> Floats:
    """Places [N, 2] of directions in the plane of their two main components.

    As on the map, the mean direction of each one's SAE is taken off first, since all features of an SAE share it.
    The sign of an axis is chosen so that its largest weight is positive.
    """
    centred_ND = vectors_ND - means_SD[list(positions)]
    centred_ND /= np.maximum(np.linalg.norm(centred_ND, axis=1, keepdims=True), 1e-12)
    centred_ND = centred_ND - centred_ND.mean(0)
    components_KD = np.linalg.svd(centred_ND, full_matrices=False)[2][:2]
    signs_K = np.sign(np.take_along_axis(components_KD, np.abs(components_KD).argmax(1)[:, None], 1))
    places_NK = centred_ND @ (components_KD * signs_K).T
    return np.pad(places_NK, ((0, 0), (0, 2 - places_NK.shape[1])))


# ---- all features of a run


def means(run: OpenRun) -> Floats:
    """Mean decoder direction of the live features of each SAE [S, D]."""
    return cast(Floats, _splitting(run)["means"])


def distributions(run: OpenRun) -> npt.NDArray[np.int64]:
    """Live features of each SAE by their highest cosine with each SAE: [S, S, COSINE_BINS]."""
    return cast(npt.NDArray[np.int64], _splitting(run)["counts"])


def num_live(run: OpenRun) -> list[int]:
    """Live features of each SAE."""
    return cast(list[int], _splitting(run)["num_live"])


def count_new(run: OpenRun, threshold: float) -> npt.NDArray[np.int64]:
    """For each SAE and each other one, the live features without a relative there [S, S]."""
    below = COSINE_BINS // 2 + round(threshold * (COSINE_BINS // 2))
    return cast(npt.NDArray[np.int64], distributions(run)[:, :, :below].sum(2))


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
    sae: OpenSAE, others: Sequence[OpenSAE], threshold: float, page: int, per_page: int, order: Order = "max"
) -> NewFeatures:
    """Live features of an SAE without a relative in any of the others, a page of them.

    Order: the highest maximum or density first, or the lowest cosine with the last of the others.
    """
    columns = [cosine_column(other.record.position) for other in others]
    tables, condition = sae.run.tables, new_condition(sae, others, threshold)
    first, wanted = (page - 1) * per_page, [*SUMMARY, *columns]
    sort, descending = (columns[-1], False) if order == "cosine" else (order, True)
    found = tables.list_features(condition, wanted, sort=sort, descending=descending, limit=per_page, offset=first)
    best_N = np.max([found[column].to_numpy() for column in columns], axis=0).tolist()
    features = [NewFeature(*pair) for pair in zip(to_summaries(sae.run, found), best_N, strict=True)]
    return NewFeatures(tables.count_features(condition), page, per_page, features)


def count_new_in_none(sae: OpenSAE, others: Sequence[OpenSAE], threshold: float) -> int:
    """How many of its live features have a relative in none of the others."""
    return sae.run.tables.count_features(new_condition(sae, others, threshold))


def new_condition(sae: OpenSAE, others: Sequence[OpenSAE], threshold: float) -> str:
    """The condition in LanceDB's SQL. The threshold is rounded as cosines and the edges of their bins are."""
    limit = float(np.float32(threshold))
    name = sae.name.replace("'", "''")
    parts = [f"sae = '{name}'", "num_active > 0"]
    return " AND ".join([*parts, *(f"{cosine_column(other.record.position)} < {limit!r}" for other in others)])


def _splitting(run: OpenRun) -> dict[str, Any]:
    """The table `splitting`, read once."""
    if "splitting" not in run.remembered:
        size = len(run.saes)
        table = run.tables.take("splitting", range(size))
        run.remembered["splitting"] = {
            "means": np.array(table["mean"].to_pylist(), np.float64),
            "num_live": table["num_live"].to_pylist(),
            "counts": np.array(table["counts"].to_pylist(), np.int64).reshape(size, size, COSINE_BINS),
        }
    found: dict[str, Any] = run.remembered["splitting"]
    return found
