"""Attribution as endpoints see it: what is asked, what the engine answers, joined with what is published.

Shapes: L tokens of the prompt, U distinct active features of one SAE.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.catalogue import OpenSAE
from backend.queries import FeatureSummary, get_summaries

FEWEST_FOR_CORRELATION = 3
MAX_ABLATIONS = 500
"""Of one SAE in one request."""


# ---- asked and answered


@dataclass(frozen=True)
class Question:
    """What is to be explained, of a prompt."""

    target: str
    """A text that is one token, or #id."""
    minus: str = ""
    """Likewise; its logit is taken off. "" for none."""
    position: int | None = None
    """Token after which the target comes; None is the last."""
    k: int = 50
    """Features of each SAE that are ablated: those whose attribution is largest in size."""


@dataclass(frozen=True)
class LikelyToken:
    """A token that the model thinks may follow."""

    token: int
    piece: bytes
    probability: float


@dataclass(frozen=True)
class Attributed:
    """The active features of one SAE, by index."""

    feature_U: npt.NDArray[np.int64]
    activation_U: npt.NDArray[np.float32]
    """Highest on the prompt."""
    token_U: npt.NDArray[np.int64]
    """Number of the token where that is."""
    attribution_U: npt.NDArray[np.float32]
    """Summed over the tokens."""
    effect_U: npt.NDArray[np.float32]
    """Of ablation: y less y without the feature; nan where it was not ablated."""


@dataclass(frozen=True)
class Outcome:
    """A target, and what each feature has to do with it."""

    tokens: list[int]
    """The prompt's, one opening token (BOS) first."""
    pieces: list[bytes]
    left_out: list[bool]
    position: int
    target: int
    target_piece: bytes
    minus: int | None
    minus_piece: bytes
    value: float
    """The logit, or the difference."""
    attributed: dict[str, Attributed]
    """By name of the SAE."""


@dataclass(frozen=True)
class Fired:
    """Which tokens made a feature fire at the last of them."""

    activation: float
    effects: list[float]
    """Gradient times input of every token, the opening one included."""


@dataclass(frozen=True)
class MovedToken:
    """A next token that a feature raises or lowers."""

    token: int
    piece: bytes
    log_probability: float
    without: float
    """With the feature ablated."""

    @property
    def change(self) -> float:
        """What the feature adds to its log-probability."""
        return self.log_probability - self.without


@dataclass(frozen=True)
class Changed:
    """What a feature does to the next tokens of a text."""

    changes: list[float]
    """For every token: what the feature adds to its log-probability, given those before it."""
    kl: float
    """After the chosen position, in nats: of the distribution as it is from that without the feature."""
    raised: list[MovedToken]
    """After the chosen position, most raised first."""
    lowered: list[MovedToken]


# ---- joined with what is published


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
    """How much of the target it makes up by ablation; None when it was not ablated."""
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
    """Those whose effect was computed: the largest attributions by size."""
    correlation: float | None
    """Pearson's, of attribution and effect over those ablated; None for fewer than three, or a constant."""
    features: list[AttributedFeature]
    """Those ablated and as many of the most active, by size of attribution."""


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
    """Pearson's correlation; None where there is none to speak of."""
    if len(first) < FEWEST_FOR_CORRELATION or not first.std() or not second.std():
        return None
    return float(np.corrcoef(first.astype(np.float64), second.astype(np.float64))[0, 1])


def _ranks(values: Sequence[float] | npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """1 for the largest."""
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(-np.asarray(values), kind="stable")] = np.arange(1, len(values) + 1)
    return ranks
