"""Attribution for endpoints: the engine's results joined with the published features.

Shapes: L tokens of the prompt, U distinct active features of one SAE.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.engine.messages import Attributed
from backend.published.catalogue import OpenSAE
from backend.published.features import FeatureSummary, get_summaries

FEWEST_FOR_CORRELATION = 3
MAX_ABLATIONS = 500
"""Of one SAE in one request."""


@dataclass(frozen=True, slots=True)
class AttributedFeature:
    """An active feature and its part in the target. Ranks count from 1 among all active features of the SAE."""

    feature: FeatureSummary
    activation: float
    """Highest on the prompt."""
    token: int
    """Number of the token where that is."""
    activation_rank: int
    attribution: float
    """Summed over the tokens."""
    attribution_rank: int
    """By size."""
    effect: float | None
    """The drop of the target when it is ablated; None when it was not ablated."""
    effect_rank: int | None
    """By size, among those ablated."""


@dataclass(frozen=True)
class SAEAttributions:
    """One SAE's part in the target."""

    sae: str
    """model/name"""
    total: int
    """Active features."""
    ablated: int
    """Features whose effect was computed: the largest attributions by size."""
    correlation: float | None
    """Pearson's, of attribution and effect over those ablated; None for fewer than three, or a constant."""
    features: list[AttributedFeature]
    """Ablated features and as many of the most active, by size of attribution."""


def join(sae: OpenSAE, attributed: Attributed, k: int) -> SAEAttributions:
    """Ranks, correlation and names. `k`: how many of the most active are listed beside those ablated."""
    known_U = ~np.isnan(attributed.effect_U)
    activation_rank_U, attribution_rank_U = _ranks(attributed.activation_U), _ranks(np.abs(attributed.attribution_U))
    effect_rank_U = _ranks(np.where(known_U, np.abs(attributed.effect_U), -1.0))
    listed = np.flatnonzero(known_U | (activation_rank_U <= k))
    listed = listed[np.argsort(attribution_rank_U[listed])]
    rows = [sae.row(int(index)) for index in attributed.feature_U[listed]]
    features = [
        AttributedFeature(
            feature=feature,
            activation=float(attributed.activation_U[u]),
            token=int(attributed.token_U[u]),
            activation_rank=int(activation_rank_U[u]),
            attribution=float(attributed.attribution_U[u]),
            attribution_rank=int(attribution_rank_U[u]),
            effect=float(attributed.effect_U[u]) if known_U[u] else None,
            effect_rank=int(effect_rank_U[u]) if known_U[u] else None,
        )
        for u, feature in zip(listed, get_summaries(sae.run, rows) if rows else [], strict=True)
    ]
    correlation = correlate(attributed.attribution_U[known_U], attributed.effect_U[known_U])
    return SAEAttributions(sae.href[1:], len(known_U), int(known_U.sum()), correlation, features)


def correlate(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float | None:
    """Pearson's correlation; None for fewer than three values, or constant ones."""
    if len(first) < FEWEST_FOR_CORRELATION or not first.std() or not second.std():
        return None
    return float(np.corrcoef(first.astype(np.float64), second.astype(np.float64))[0, 1])


def _ranks(values: Sequence[float] | npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """1 for the largest."""
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(-np.asarray(values), kind="stable")] = np.arange(1, len(values) + 1)
    return ranks
