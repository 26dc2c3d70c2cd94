"""Ranking what a prompt activates, in one or several SAEs of a run: with sparse arrays, and one read of the tables.

Shapes: L tokens of the prompt, K activations above zero in all SAEs together, U distinct active features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa

from backend.engine.messages import PromptReading
from backend.published.arrays import Booleans, Floats, Integers
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.common import FREQUENT, MOSTLY
from backend.published.features import SUMMARY, FeatureSummary, to_summaries

Rank = Literal["max", "mean", "last", "rare"]
RANKS: dict[Rank, tuple[str, str]] = {
    "max": ("Strength", "By the highest activation on any token that counts."),
    "mean": ("Mean", "By the mean activation over all tokens that count, those where it is 0 included."),
    "last": ("Last token", "By the activation on the last token that counts."),
    "rare": (
        "Rare and strong",
        "By activation / max × −ln(density), at its highest: a feature that is rarely active says more when it is.",
    ),
}
"""Title and explanation of each way to rank."""

Common = Literal["", "frequent", "start"]
"""The reason why a feature says little of a text: active on more than FREQUENT of tokens, or mostly at the start."""
COLUMNS = [*SUMMARY, "at_start"]


@dataclass(frozen=True, slots=True)
class ActiveFeature:
    """A feature that is active on a prompt."""

    feature: FeatureSummary
    activation: float
    """On the token that is named."""
    share: float
    """Of its highest activation in the corpus."""
    token: int
    """Number of the token: the one it is listed for, or the one where it is strongest."""
    score: float
    """The value that it is ranked by: see RANKS."""
    common: Common


@dataclass(frozen=True)
class Activity:
    """All activations of some SAEs on one prompt, with what is published of the features."""

    run: OpenRun
    counted_L: Booleans
    """Tokens that are not left out."""
    row_U: Integers
    """Rows of the active features in the run's tables, ascending."""
    records_U: pa.Table
    """Columns COLUMNS."""
    place_K: Integers
    """Place of each activation's feature in U."""
    token_K: Integers
    value_K: Floats

    @cached_property
    def density_U(self) -> Floats:
        """Share of the corpus's tokens; of a feature never seen active there, as if on one token."""
        density_U = np.asarray(self.records_U["density"].to_numpy(), np.float64)
        return np.maximum(density_U, 1 / self.run.num_tokens)

    @cached_property
    def share_K(self) -> Floats:
        """Of the feature's highest activation in the corpus, see `shares`."""
        return shares(self.value_K, self.records_U["max"].to_numpy()[self.place_K])

    @cached_property
    def frequent_U(self) -> Booleans:
        return self.density_U > FREQUENT

    @cached_property
    def common_U(self) -> Booleans:
        """Features that say little of a text, see Common."""
        at_start_U: Booleans = self.records_U["at_start"].to_numpy() > MOSTLY
        return self.frequent_U | at_start_U

    def common(self, place: int) -> Common:
        """The reason why a feature says little; "" when it may say something."""
        return "frequent" if self.frequent_U[place] else "start" if self.common_U[place] else ""

    def of(self, sae: OpenSAE) -> Booleans:
        """A mask of the features in U that belong to one SAE."""
        return (self.row_U >= sae.row(0)) & (self.row_U < sae.row(sae.num_features))

    def summaries(self, places: Integers) -> list[FeatureSummary]:
        """Some of the features."""
        return to_summaries(self.run, self.records_U.take(pa.array(places)))


def shares(value: Floats, maximum: Floats) -> Floats:
    """Activations as shares of the features' highest; of a feature never seen active in the corpus, any is 1."""
    return np.divide(value, maximum, out=(value > 0).astype(np.float64), where=maximum > 0)


def gather(saes: Sequence[OpenSAE], reading: PromptReading) -> Activity:
    """Put the activations of some SAEs of one run together; one read of its tables, of the active features alone."""
    found = [(sae, reading.active[sae.name]) for sae in saes]
    row_K = np.concatenate([sae.row(0) + active.feature_K for sae, active in found])
    row_U, place_K = np.unique(row_K, return_inverse=True)
    run = saes[0].run
    return Activity(
        run=run,
        counted_L=~np.array(reading.left_out),
        row_U=row_U,
        records_U=run.tables.take("features", row_U.tolist(), COLUMNS),
        place_K=place_K,
        token_K=np.concatenate([active.token_K for _, active in found]),
        value_K=np.concatenate([active.value_K for _, active in found]).astype(np.float64),
    )


@dataclass(frozen=True)
class Ranking:
    """The active features of a prompt in an order."""

    activity: Activity
    weight_K: Floats
    """The weight of each activation: itself, or scaled by rarity."""
    score_U: Floats
    place_S: Integers
    """Features with a score above 0, best first: places in U."""
    peak_S: Integers
    """Of each, the activation that is named: a place in K."""
    sorted_K: Integers
    """Activations that are shown, sorted by token, the strongest first."""
    total: int
    """Distinct active features, hidden ones left out."""
    hidden: int
    """Features that are hidden because they are active too often."""
    num_common: int
    """Of those in `total`, those that say little, see Common."""

    def overall(self, limit: int) -> list[ActiveFeature]:
        """The first features of the whole prompt."""
        place_S, peak_S = self.place_S[:limit], self.peak_S[:limit]
        return self._describe(peak_S, self.score_U[place_S])

    def by_token(self, limit: int) -> list[list[ActiveFeature]]:
        """The first features of each token."""
        bounds = [self._of_token(number) for number in range(len(self.activity.counted_L))]
        chosen = [self.sorted_K[start : min(stop, start + limit)] for start, stop in bounds]
        described = iter(self._describe(np.concatenate([*chosen, self.sorted_K[:0]])))
        return [[next(described) for _ in part] for part in chosen]

    def of_token(self, number: int, limit: int) -> tuple[list[ActiveFeature], int]:
        """The first features of one token, and how many there are."""
        start, stop = self._of_token(number)
        return self._describe(self.sorted_K[start : min(stop, start + limit)]), stop - start

    def _of_token(self, number: int) -> tuple[int, int]:
        token_K = self.activity.token_K[self.sorted_K]
        return int(np.searchsorted(token_K, number)), int(np.searchsorted(token_K, number, side="right"))

    def _describe(self, chosen_K: Integers, score: Floats | None = None) -> list[ActiveFeature]:
        """Activations in words; a score of their own by default."""
        activity = self.activity
        places, inverse = np.unique(activity.place_K[chosen_K], return_inverse=True)
        features, common = activity.summaries(places), list(map(activity.common, places.tolist()))
        values = zip(
            activity.value_K[chosen_K].tolist(),
            activity.share_K[chosen_K].tolist(),
            activity.token_K[chosen_K].tolist(),
            (self.weight_K[chosen_K] if score is None else score).tolist(),
            strict=True,
        )
        return [
            ActiveFeature(features[i], *value, common[i]) for i, value in zip(inverse.tolist(), values, strict=True)
        ]


def rank(activity: Activity, by: Rank, hide: float, only: OpenSAE | None = None, *, common_last: bool) -> Ranking:
    """Order what is active; features on more than the share `hide` of the corpus are left out. Ties come by row.

    common_last: whether features that say little, see Common, come after all others.
    """
    density_U = activity.density_U
    asked_U = np.ones(len(density_U), bool) if only is None else activity.of(only)
    shown_U = asked_U & (density_U <= hide)
    weight_K = activity.share_K * -np.log(density_U)[activity.place_K] if by == "rare" else activity.value_K
    late_U = activity.common_U & common_last
    sorted_K = np.lexsort((activity.row_U[activity.place_K], -weight_K, late_U[activity.place_K], activity.token_K))
    sorted_K = sorted_K[shown_U[activity.place_K[sorted_K]]]
    score_U, peak_U = _scores(activity, by, weight_K)
    best_U = np.lexsort((activity.row_U, -score_U, late_U))
    place_S = best_U[(shown_U & (score_U > 0))[best_U]]
    return Ranking(
        activity=activity,
        weight_K=weight_K,
        score_U=score_U,
        place_S=place_S,
        peak_S=peak_U[place_S],
        sorted_K=sorted_K,
        total=int(shown_U.sum()),
        hidden=int((asked_U & ~shown_U).sum()),
        num_common=int((shown_U & activity.common_U).sum()),
    )


def _scores(activity: Activity, by: Rank, weight_K: Floats) -> tuple[Floats, Integers]:
    """Score of each feature, and the activation to name: its highest, or that on the last token."""
    place_K, size = activity.place_K, len(activity.row_U)
    counted = np.flatnonzero(activity.counted_L)
    if by == "last":
        weight_K = np.where(activity.token_K == counted[-1], weight_K, 0.0) if len(counted) else weight_K
    descending_K = np.argsort(-weight_K, kind="stable")
    _, first_U = np.unique(place_K[descending_K], return_index=True)
    peak_U = descending_K[first_U]
    if by == "mean":
        return np.bincount(place_K, activity.value_K, size) / max(1, len(counted)), peak_U
    return weight_K[peak_U], peak_U
