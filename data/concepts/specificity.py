"""Whether a feature is about one concept: on prompts that hold it, on those that hold others, and in ordinary text.

Everything is sparse: what grows with the features of an SAE is nothing, what grows is the pairs of a prompt and a
feature that is active on it. Shapes: P prompts (those of a concept in a row), K activations above zero on their last
tokens, C candidates, N concepts.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


PAIRS_AT_ONCE = 1 << 22
RIVALS_KEPT = 5
"""Of the other concepts on which a candidate fires, those that are named."""


@dataclass(frozen=True)
class Thresholds:
    """What a feature must reach to be a concept's own."""

    candidates: int = 5
    """Features looked at for each concept: the most active, on average, on the last tokens of its prompts."""
    firing: float = 0.5
    """A feature fires where it has this part of its mean activation on the concept's prompts, or more."""
    recall: float = 0.75
    """Of the concept's prompts, the share on which it fires, at least."""
    precision: float = 0.5
    """Of the prompts of all concepts on which it fires, the share that holds this one, at least."""
    text: float = 1 / 3
    """Of its examples in the corpus at which it fires, the share that stands on the concept, at least. Words that are
    derived from it (French, Irish) are others, so that a feature of France hardly reaches all."""


THRESHOLDS = Thresholds()


class Prompts(NamedTuple):
    """The concept that each prompt holds."""

    concept_P: Ints
    """Ascending."""
    count_N: Ints
    """Prompts of each concept."""

    @classmethod
    def of(cls, counts: list[int]) -> "Prompts":
        """counts: prompts of each concept."""
        return cls(np.repeat(np.arange(len(counts)), counts), np.array(counts, np.int64))


class Activations(NamedTuple):
    """Activations above zero on the last tokens of prompts, sorted by feature, then prompt."""

    prompt_K: Ints
    feature_K: Ints
    value_K: Floats

    @classmethod
    def sorted(cls, prompt_K: Ints, feature_K: Ints, value_K: Floats) -> "Activations":
        """From any order."""
        order_K = np.lexsort((prompt_K, feature_K))
        return cls(prompt_K[order_K].astype(np.int64), feature_K[order_K].astype(np.int64), value_K[order_K])


class Candidates(NamedTuple):
    """Features that may be a concept's own, sorted by concept, then the most active first."""

    concept_C: Ints
    rank_C: Ints
    feature_C: Ints
    mean_C: Floats
    """Activation on the last token of the concept's prompts, on average."""

    def some(self, rows: slice) -> "Candidates":
        """Some of them."""
        return Candidates._make(column[rows] for column in self)

    def level(self, thresholds: Thresholds = THRESHOLDS) -> Floats:
        """Activation from which on each fires [C]."""
        return cast(Floats, (thresholds.firing * self.mean_C).astype(np.float32))


class Fired(NamedTuple):
    """On which prompts candidates fire."""

    own_C: Ints
    """Prompts of its concept."""
    others_C: Ints
    """Prompts of other concepts, but for its kin: see `data.concepts.lists.kin_of`."""
    num_rivals_C: Ints
    """Other concepts of which it fires on a prompt, at least."""
    rival_R: Ints
    """The strongest RIVALS_KEPT of these, those of each candidate in a row, the strongest first."""

    @property
    def num_named_C(self) -> Ints:
        """How many of these are kept of each."""
        return np.minimum(self.num_rivals_C, RIVALS_KEPT)

    def rivals(self, candidate: int) -> Ints:
        """Those of one candidate that are kept."""
        first = int(self.num_named_C[:candidate].sum())
        return self.rival_R[first : first + int(self.num_named_C[candidate])]

    @property
    def precision_C(self) -> Doubles:
        """Of the prompts on which each fires, the share that holds its concept; 0 where it fires on none."""
        return cast(Doubles, self.own_C / np.maximum(self.own_C + self.others_C, 1))


class Means(NamedTuple):
    """Activation of features on the last tokens of each concept's prompts, on average; sorted by concept, then feature.

    Shape: U pairs of a concept and a feature that is active on a prompt of it."""

    concept_U: Ints
    feature_U: Ints
    mean_U: Doubles


def means_of(found: Activations, prompts: Prompts) -> Means:
    """The mean of each pair."""
    concept_K = prompts.concept_P[found.prompt_K]
    size = int(found.feature_K.max(initial=0)) + 1
    pair_U, place_K = np.unique(concept_K * size + found.feature_K, return_inverse=True)
    mean_U = np.bincount(place_K, found.value_K, len(pair_U)) / prompts.count_N[pair_U // size]
    return Means(pair_U // size, pair_U % size, mean_U)


def choose(means: Means, most: int = THRESHOLDS.candidates) -> Candidates:
    """The features that are most active on each concept."""
    order_U = np.lexsort((means.feature_U, -means.mean_U, means.concept_U))
    concept_U = means.concept_U[order_U]
    rank_U = np.arange(len(concept_U)) - np.searchsorted(concept_U, concept_U)
    kept = rank_U < most
    chosen = order_U[kept]
    return Candidates(concept_U[kept], rank_U[kept], means.feature_U[chosen], means.mean_U[chosen].astype(np.float32))


class Shared(NamedTuple):
    """The feature that tells the concepts of a list best from all others."""

    feature: int
    inside: int
    """Concepts of the list on which it fires: where its mean is at least half of what it is on the list as a whole."""
    outside: int
    """Other concepts on which it does."""


def shared_by(means: Means, list_N: Ints, number: int, firing: float = THRESHOLDS.firing) -> Shared | None:
    """The feature with the highest harmonic mean of precision and recall on a list. list_N: the list of each concept.

    None where no feature is active on any concept of it.
    """
    inside_U = list_N[means.concept_U] == number
    if not inside_U.any():
        return None
    total = int((list_N == number).sum())
    features, place_U = np.unique(means.feature_U, return_inverse=True)
    whole_G = np.bincount(place_U, np.where(inside_U, means.mean_U, 0.0), len(features)) / total
    fires_U = (means.mean_U >= firing * whole_G[place_U]) & (whole_G[place_U] > 0)
    hits_G = np.bincount(place_U[fires_U & inside_U], minlength=len(features))
    fired_G = np.bincount(place_U[fires_U], minlength=len(features))
    score_G = 2 * hits_G / (fired_G + total)
    best = int(np.lexsort((np.arange(len(features)), -score_G))[0])
    return Shared(int(features[best]), int(hits_G[best]), int(fired_G[best] - hits_G[best]))


def compare(
    candidates: Candidates,
    found: Activations,
    prompts: Prompts,
    kin: list[tuple[int, int]],
    thresholds: Thresholds = THRESHOLDS,
) -> Fired:
    """The prompts on which each candidate fires. kin: pairs of concepts that are no evidence against each other.

    PAIRS_AT_ONCE pairs of a candidate and an activation of its feature are looked at together.
    """
    kin_Q = np.array([one * len(prompts.count_N) + other for one, other in kin], np.int64)
    low_C, high_C = (np.searchsorted(found.feature_K, candidates.feature_C, side) for side in ("left", "right"))
    reached_C = np.cumsum(high_C - low_C)
    parts: list[Fired] = []
    start = 0
    while start < len(low_C) or not parts:
        before = int(reached_C[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(reached_C, before + PAIRS_AT_ONCE, side="right")))
        some = slice(start, stop)
        parts.append(_compare(candidates.some(some), found, low_C[some], high_C[some], prompts, kin_Q, thresholds))
        start = stop
    return Fired(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _compare(
    candidates: Candidates,
    found: Activations,
    low_C: Ints,
    high_C: Ints,
    prompts: Prompts,
    kin_Q: Ints,
    thresholds: Thresholds,
) -> Fired:
    """low_C, high_C: where the activations of each candidate's feature begin and end in `found`."""
    num_concepts, num = len(prompts.count_N), len(candidates.concept_C)
    candidate_E, place_E = _expanded(low_C, high_C - low_C)
    fires_E = found.value_K[place_E] >= candidates.level(thresholds)[candidate_E]
    candidate_E, place_E = candidate_E[fires_E], place_E[fires_E]
    concept_E, mine_E = prompts.concept_P[found.prompt_K[place_E]], candidates.concept_C[candidate_E]
    own_E = concept_E == mine_E
    other_E = ~own_E & ~np.isin(mine_E * num_concepts + concept_E, kin_Q)
    num_rivals_C, rival_R = _rivals(candidate_E[other_E], concept_E[other_E], found.value_K[place_E][other_E], num)
    return Fired(
        own_C=np.bincount(candidate_E[own_E], minlength=num),
        others_C=np.bincount(candidate_E[other_E], minlength=num),
        num_rivals_C=num_rivals_C,
        rival_R=rival_R,
    )


def _rivals(candidate_E: Ints, concept_E: Ints, value_E: Floats, num: int) -> tuple[Ints, Ints]:
    """How many concepts come with each candidate [num], and the strongest of these, the strongest first."""
    if not len(candidate_E):
        return np.zeros(num, np.int64), np.zeros(0, np.int64)
    # Sorted by candidate, then prompt, so that those of a concept lie in a row.
    first_G = np.flatnonzero((np.diff(candidate_E, prepend=-1) != 0) | (np.diff(concept_E, prepend=-1) != 0))
    sum_G = np.add.reduceat(value_E.astype(np.float64), first_G)
    candidate_G, concept_G = candidate_E[first_G], concept_E[first_G]
    order_G = np.lexsort((concept_G, -sum_G, candidate_G))
    candidate_G, concept_G = candidate_G[order_G], concept_G[order_G]
    kept_G = np.arange(len(candidate_G)) - np.searchsorted(candidate_G, candidate_G) < RIVALS_KEPT
    return np.bincount(candidate_G, minlength=num), concept_G[kept_G]


def _expanded(start_C: Ints, count_C: Ints) -> tuple[Ints, Ints]:
    """Number and place: start, start + 1, ... of `count` places each."""
    ends_C = np.cumsum(count_C)
    number_E = np.repeat(np.arange(len(start_C)), count_C)
    return number_E, np.arange(len(number_E)) + (start_C - (ends_C - count_C))[number_E]


class Verdicts(NamedTuple):
    """Which candidates are their concept's own."""

    specific_C: Mask
    nearest_N: Ints
    """For each concept the candidate that is best: the best of its own, or what comes nearest; -1 without any."""


def decide(
    candidates: Candidates,
    fired: Fired,
    prompts: Prompts,
    text: tuple[Ints, Ints],
    thresholds: Thresholds = THRESHOLDS,
) -> Verdicts:
    """text: of the examples in the corpus at which each candidate fires, those on its concept, and all [C]; where there
    is none, or it was not looked at, nothing speaks against it there."""
    on_C, num_C = text
    recall_C = fired.own_C / prompts.count_N[candidates.concept_C]
    text_C = np.where(num_C > 0, on_C / np.maximum(num_C, 1), 1.0)
    specific_C = passes(candidates, fired, prompts, thresholds) & (text_C >= thresholds.text)
    on_prompts_C = np.minimum(recall_C, fired.precision_C)
    worth_C = np.where(specific_C, np.minimum(on_prompts_C, text_C), on_prompts_C)
    order_C = np.lexsort((candidates.rank_C, -worth_C, ~specific_C, candidates.concept_C))
    concepts, first = np.unique(candidates.concept_C[order_C], return_index=True)
    nearest_N = np.full(len(prompts.count_N), -1, np.int64)
    nearest_N[concepts] = order_C[first]
    return Verdicts(specific_C, nearest_N)


def passes(candidates: Candidates, fired: Fired, prompts: Prompts, thresholds: Thresholds = THRESHOLDS) -> Mask:
    """Whether each is specific on the prompts [C]."""
    recall_C = fired.own_C / prompts.count_N[candidates.concept_C]
    return (recall_C >= thresholds.recall) & (fired.precision_C >= thresholds.precision)


def worth_reading(candidates: Candidates, fired: Fired, prompts: Prompts, thresholds: Thresholds = THRESHOLDS) -> Mask:
    """The candidates whose examples are looked at: those that pass, and each concept's best on prompts [C]."""
    nothing = np.zeros(len(candidates.concept_C), np.int64)
    best_N = decide(candidates, fired, prompts, (nothing, nothing), thresholds).nearest_N
    chosen_C = passes(candidates, fired, prompts, thresholds)
    chosen_C[best_N[best_N >= 0]] = True
    return chosen_C
