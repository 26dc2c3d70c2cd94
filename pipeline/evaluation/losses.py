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
    """Sums over the predicted tokens of each sequence or document, in nats, by name of the stream."""

    loss: dict[str, Sums]
    """Cross-entropy of the next token."""
    divergence: dict[str, Sums]
    """KL divergence from the unchanged model's distribution to that of each SAE."""


class DocumentLosses(NamedTuple):
    """Losses of a sample of documents [M], by name of the stream."""

    tokens_M: Sums
    loss: dict[str, Sums]
    divergence: dict[str, Sums]

    def of_model(self) -> Estimate:
        """The model's own cross-entropy, in nats per token."""
        return estimate_ratio(self.loss[MODEL], self.tokens_M)

    def added(self, name: str) -> Estimate:
        """Rise of the model's cross-entropy under a stream, in nats per token."""
        return estimate_ratio(self.loss[name] - self.loss[MODEL], self.tokens_M)

    def recovered(self, name: str, baseline: str) -> Estimate | None:
        """(CE_baseline - CE_name) / (CE_baseline - CE); None unless the baseline is worse than the model.

        Worse means: by more than the 95% interval of the difference, where there is one.
        """
        worse = self.added(baseline)
        low, _ = worse.interval() or (worse.value, worse.value)
        if low <= 0:
            return None
        base = self.loss[baseline]
        return estimate_ratio(base - self.loss[name], base - self.loss[MODEL])

    def metrics(self, name: str) -> dict[str, Any]:
        """All of it for one SAE, as it stands in metrics.json."""
        streams = {"ce": MODEL, "ce_sae": name, "ce_mean": MEAN, "ce_zero": ZERO}
        found: dict[str, Estimate | None] = {"loss_added": self.added(name)}
        found |= {f"recovered_{baseline}": self.recovered(name, baseline) for baseline in BASELINES}
        found["kl"] = estimate_ratio(self.divergence[name], self.tokens_M)
        found |= {key: estimate_ratio(self.loss[stream], self.tokens_M) for key, stream in streams.items()}
        metrics: dict[str, Any] = {}
        for key, estimate in found.items():
            metrics[key] = estimate.value if estimate else None
            metrics[f"{key}_ci"] = estimate.interval() if estimate else None
        return metrics | {"num_ce_tokens": int(self.tokens_M.sum()), "num_ce_documents": len(self.tokens_M)}


def replaced(x_BLD: Tensor, place_BL: Tensor, other: Tensor) -> Tensor:
    """The residual stream with some positions replaced ([N, D] or [D]), all others as they are."""
    changed_BLD = x_BLD.clone()
    changed_BLD[place_BL] = other.to(x_BLD.dtype).to(x_BLD.device)
    return changed_BLD


def predict(
    model: LanguageModel,
    tokens_BL: Tensor,
    own_BL: npt.NDArray[np.bool_],
    streams: Mapping[str, Tensor],
    beside_BLD: Tensor | None = None,
) -> Losses:
    """Losses of each sequence [B] under each stream [B, L, D], of which one is MODEL. beside: see hooks.py.

    Every token that counts (own) is predicted once, from the one before it. Logits are made tile by tile.
    """
    place_BL = torch.from_numpy(own_BL[:, 1:])
    sequence_N, position_N = torch.nonzero(place_BL, as_tuple=True)
    target_N = tokens_BL[sequence_N, position_N + 1].to(model.device)
    hidden = {name: model.hidden_from(x_BLD, beside_BLD)[sequence_N, position_N] for name, x_BLD in streams.items()}
    loss = {name: torch.empty(len(target_N), dtype=torch.float64) for name in streams}
    divergence = {
        name: torch.empty(len(target_N), dtype=torch.float64) for name in streams.keys() - {MODEL, *BASELINES}
    }
    for start in range(0, len(target_N), TILE_POSITIONS):
        tile = slice(start, start + TILE_POSITIONS)
        base_TV = _log_probabilities(model, hidden[MODEL][tile])
        p_TV = base_TV.exp()
        entropy_T = -_dot(p_TV, base_TV)
        for name, states_ND in hidden.items():
            logs_TV = base_TV if name == MODEL else _log_probabilities(model, states_ND[tile])
            loss[name][tile] = -logs_TV.gather(1, target_N[tile, None])[:, 0]
            if name in divergence:
                divergence[name][tile] = -_dot(p_TV, logs_TV) - entropy_T

    def summed(values: dict[str, Tensor]) -> dict[str, Sums]:
        zeros_B = torch.zeros(len(own_BL), dtype=torch.float64)
        return {name: zeros_B.index_add(0, sequence_N, value_N).numpy() for name, value_N in values.items()}

    return Losses(summed(loss), summed(divergence))


def predict_from_zeros(model: LanguageModel, tokens_BL: Tensor, own_BL: npt.NDArray[np.bool_]) -> Sums:
    """The loss of each sequence [B] where every position of the stream is zero.

    Such a stream knows nothing of the sequence, so that one row of positions serves all of them.
    """
    num_positions = tokens_BL.shape[1]
    hidden_LD = model.hidden_from(torch.zeros(1, num_positions, model.width))[0]
    loss_B = np.zeros(len(own_BL))
    for start in range(0, num_positions - 1, TILE_POSITIONS):
        target_BT = tokens_BL[:, start + 1 : start + 1 + TILE_POSITIONS]
        position_T = torch.arange(start, start + target_BT.shape[1])
        logs_TV = _log_probabilities(model, hidden_LD[position_T]).cpu()
        loss_BT = -logs_TV[position_T - start, target_BT].cpu().double().numpy()
        loss_B += np.where(own_BL[:, position_T.numpy() + 1], loss_BT, 0.0).sum(1)
    return loss_B


def _log_probabilities(model: LanguageModel, hidden_TD: Tensor) -> Tensor:
    """Of every next token [T, V], in float32."""
    return torch.log_softmax(model.head(hidden_TD), -1, dtype=torch.float32)


def _dot(p_TV: Tensor, logs_TV: Tensor) -> Tensor:
    """Inner products of rows [T], several times faster than a product and a sum."""
    return torch.bmm(p_TV[:, None], logs_TV[:, :, None])[:, 0, 0].cpu().double()
