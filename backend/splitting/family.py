"""The family of a feature: its nearest relatives in the other sizes, and theirs, as a graph."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from backend.published.arrays import Floats
from backend.published.catalogue import OpenSAE
from backend.published.examples import FeaturePreview, clip_context, get_previews
from backend.published.neighbours import nearest_rows
from backend.splitting.sizes import by_size, means, num_counted

RELATIVES_SHOWN = 8
"""Relatives of a feature that are shown of each SAE, at most: the nearest."""
EXAMPLES_PER_RELATIVE = 2
RELATIVE_CONTEXT = 9
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
    preview: FeaturePreview
    focus: bool
    """Whether it is the feature whose family it is."""
    cosine: float
    """With the focus; 1 for the focus itself."""
    x: float
    y: float
    """Its coordinates in the plane of the family, see `lay_out`."""
    parent: int | None = None
    """Number of its nearest relative in a smaller SAE, None when none is as near as the threshold."""
    parent_cosine: float = 0.0


class Count(NamedTuple):
    """The number of relatives that a feature has in one SAE."""

    number: int
    complete: bool
    """False when even the last of its published neighbours there is one: there may be more."""


@dataclass(frozen=True)
class Family:
    """A feature and its relatives, those of the smallest SAE first."""

    threshold: float
    minor: bool
    """Whether rare and negligible relatives are among them."""
    members: list[Relative]
    """The nearest at or above the threshold, at most RELATIVES_SHOWN of each SAE, and the focus."""
    counts: dict[str, Count]
    """Of all relatives, shown or not, by the name of the SAE."""
    nearest: Node | None
    """The nearest feature of any SAE, near enough or not."""

    @property
    def focus(self) -> Relative:
        return next(member for member in self.members if member.focus)

    @property
    def total(self) -> Count:
        """Relatives in all SAEs."""
        numbers, complete = zip(*self.counts.values(), strict=True)
        return Count(sum(numbers), all(complete))


def get_family(sae: OpenSAE, index: int, threshold: float, *, minor: bool = False) -> Family:
    """The relatives of a feature in every SAE of its run, in five reads however many features there are."""
    near = _published_neighbours(sae, index, minor)
    nodes = _nodes(sae, index, near)
    table = sae.run.tables.take("features", [node.row for node in nodes], ["vector"])
    vectors_ND = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(nodes), -1).astype(np.float64)
    places_N2 = lay_out(vectors_ND, [node.sae.record.position for node in nodes], means(sae.run))
    shown = [i for i, node in enumerate(nodes) if node.row == sae.row(index) or node.cosine >= threshold]
    previews = get_previews(sae.run, [nodes[i].row for i in shown], EXAMPLES_PER_RELATIVE)
    members = [
        Relative(
            number=i + 1,
            sae=nodes[i].sae,
            preview=replace(
                preview, examples=[clip_context(example, RELATIVE_CONTEXT) for example in preview.examples]
            ),
            focus=nodes[i].row == sae.row(index),
            cosine=nodes[i].cosine,
            x=float(places_N2[i, 0]),
            y=float(places_N2[i, 1]),
        )
        for i, preview in zip(shown, previews, strict=True)
    ]
    vectors_MD = vectors_ND[shown]
    return Family(
        threshold,
        minor,
        _with_parents(members, vectors_MD @ vectors_MD.T, threshold),
        {name: _count(found, threshold) for name, found in near.items()},
        max((found.nodes[0] for found in near.values() if found.nodes), key=lambda node: node.cosine, default=None),
    )


class _Found(NamedTuple):
    """The published neighbours of a feature in one SAE."""

    nodes: list[Node]
    """The nearest first."""
    end: float
    """Cosine of the last one; below it nothing is known. -1 when all of the SAE are there."""


def _published_neighbours(sae: OpenSAE, index: int, minor: bool) -> dict[str, _Found]:
    """The published neighbours of a feature, by the name of the SAE."""
    saes, found = {other.name: other for other in sae.run.saes}, {}
    for name, pairs in nearest_rows(sae, index, minor=minor).items():
        other = saes[name]
        whole = len(pairs) >= num_counted(sae.run, minor=minor)[other.record.position] - (other is sae)
        found[name] = _Found([Node(other, *pair) for pair in pairs], -1.0 if whole else pairs[-1][1])
    return found


def _count(found: _Found, threshold: float) -> Count:
    return Count(sum(node.cosine >= threshold for node in found.nodes), found.end < threshold)


def _nodes(sae: OpenSAE, index: int, near: dict[str, _Found]) -> list[Node]:
    """The feature and its nearest neighbours, the smallest SAE first."""
    nodes: list[Node] = []
    for other in by_size(sae.run):
        own = [Node(sae, sae.row(index), 1.0)] if other is sae else []
        nodes += [*own, *near[other.name].nodes[:RELATIVES_SHOWN]]
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
