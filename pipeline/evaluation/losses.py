"""The model's loss on its next tokens when an SAE's reconstruction, or a baseline, takes the residual stream's place.

Definitions in docs/method.md. Shapes: N tokens, B sequences of a batch, L positions (BOS included), M documents, D
width, V vocabulary, T positions of a tile.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.evaluation.intervals import Estimate, estimate_ratio
from pipeline.models.language_model import LanguageModel

MODEL, MEAN, ZERO = "model", "mean", "zero"
"""Names of the streams that SAEs are compared with: unchanged, counted tokens replaced by the mean of the training
rows, and every position (BOS and attention sinks included) replaced by zero."""
BASELINES = (MEAN, ZERO)
TILE_POSITIONS = 256
"""Positions whose logits [T, V] are in memory at once."""

Sums = npt.NDArray[np.float64]


class Losses(NamedTuple):
    """Sums over the predicted tokens of each sequence or document, in nats."""

    loss: Sums
    """Cross-entropy of the next token."""
    divergence: Sums
    """KL divergence from the unchanged model's distribution to this one's."""


class DocumentLosses(NamedTuple):
    """What a sample of documents gave, by name of the stream."""

    tokens_M: Sums
    streams: dict[str, Losses]

    def of_model(self) -> Estimate:
        """The model's own cross-entropy, in nats per token."""
        return estimate_ratio(self.streams[MODEL].loss, self.tokens_M)

    def added(self, name: str) -> Estimate:
        """What a stream adds to the model's cross-entropy, in nats per token."""
        return estimate_ratio(self.streams[name].loss - self.streams[MODEL].loss, self.tokens_M)

    def recovered(self, name: str, baseline: str) -> Estimate | None:
        """(CE_baseline - CE_name) / (CE_baseline - CE); None unless the baseline is worse than the model.

        Worse means: by more than the 95% interval of the difference, where there is one.
        """
        worse = self.added(baseline)
        low, _ = worse.interval() or (worse.value, worse.value)
        if low <= 0:
            return None
        base = self.streams[baseline].loss
        return estimate_ratio(base - self.streams[name].loss, base - self.streams[MODEL].loss)

    def metrics(self, name: str) -> dict[str, Any]:
        """All of it for one SAE, as it stands in metrics.json."""
        streams = {"ce": MODEL, "ce_sae": name, "ce_mean": MEAN, "ce_zero": ZERO}
        found: dict[str, Estimate | None] = {"loss_added": self.added(name)}
        found |= {f"recovered_{baseline}": self.recovered(name, baseline) for baseline in BASELINES}
        found["kl"] = estimate_ratio(self.streams[name].divergence, self.tokens_M)
        found |= {key: estimate_ratio(self.streams[stream].loss, self.tokens_M) for key, stream in streams.items()}
        metrics: dict[str, Any] = {}
        for key, estimate in found.items():
            metrics[key] = estimate.value if estimate else None
            metrics[f"{key}_ci"] = estimate.interval() if estimate else None
        return metrics | {"num_ce_tokens": int(self.tokens_M.sum()), "num_ce_documents": len(self.tokens_M)}


def replaced(x_BLD: Tensor, place_BL: Tensor, other: Tensor) -> Tensor:
    """The residual stream with some positions replaced ([N, D] or [D]), all others as they are."""
    changed_BLD = x_BLD.clone()
    changed_BLD[place_BL] = other.to(x_BLD.device, x_BLD.dtype)
    return changed_BLD


def predict(
    model: LanguageModel, tokens_BL: Tensor, lengths_B: npt.NDArray[np.int64], streams: Mapping[str, Tensor]
) -> dict[str, Losses]:
    """Losses of each sequence [B] under each stream [B, L, D], of which one is MODEL.

    Every token of the sequences is predicted once, the first one from BOS. Logits are made tile by tile.
    """
    place_BL = torch.arange(tokens_BL.shape[1])[None, :] < torch.from_numpy(lengths_B)[:, None]
    sequence_N, position_N = torch.nonzero(place_BL, as_tuple=True)
    target_N = tokens_BL[sequence_N, position_N + 1].to(model.device)
    hidden = {name: model.hidden_from(x_BLD)[sequence_N, position_N] for name, x_BLD in streams.items()}
    values = {name: torch.empty(2, len(target_N), dtype=torch.float64) for name in streams}
    for start in range(0, len(target_N), TILE_POSITIONS):
        tile = slice(start, start + TILE_POSITIONS)
        base = _Predicted.of(model, hidden[MODEL][tile])
        probability_TV = torch.exp(base.logits_TV - base.total_T[:, None])
        for name, states_ND in hidden.items():
            other = base if name == MODEL else _Predicted.of(model, states_ND[tile])
            values[name][0, tile] = other.loss(target_N[tile])
            values[name][1, tile] = other.divergence_from(base, probability_TV)
    starts_B = np.cumsum(lengths_B) - lengths_B
    return {name: Losses(*np.add.reduceat(value.numpy(), starts_B, axis=1)) for name, value in values.items()}


class _Predicted(NamedTuple):
    """Next-token distributions of a tile, in float32."""

    logits_TV: Tensor
    total_T: Tensor
    """Logarithm of the sum of exp(logits)."""

    @classmethod
    def of(cls, model: LanguageModel, hidden_TD: Tensor) -> "_Predicted":
        logits_TV = model.head(hidden_TD).float()
        return cls(logits_TV, logits_TV.logsumexp(-1))

    def loss(self, target_T: Tensor) -> Tensor:
        return (self.total_T - self.logits_TV.gather(1, target_T[:, None])[:, 0]).double()

    def divergence_from(self, base: "_Predicted", probability_TV: Tensor) -> Tensor:
        """sum p (log p - log q) [T], p of `base`: with logits u and v, sum p (u - v) - total_u + total_v."""
        mean_T = torch.linalg.vecdot(probability_TV, base.logits_TV - self.logits_TV)
        return (mean_T - base.total_T + self.total_T).double()
