"""Metrics of how well an SAE keeps what the language model knows; see docs/method.md for the definitions.

Shapes: N tokens, B sequences, L positions (BOS included), D width, V vocabulary, T positions of a tile.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.models.language_model import LanguageModel
from pipeline.models.left_out import left_out, own_of_batch
from pipeline.models.sae import SAE, SparseActivations

TILE_POSITIONS = 256
"""Positions whose logits [T, V] are in memory at once."""
DENSITY_BINS_PER_DECADE = 4
LOWEST_DENSITY = -7
"""The density histogram begins at 10^-7."""


class Reconstruction:
    """Explained variance and L0 over a whole set of tokens, summed in float64."""

    def __init__(self, width: int) -> None:
        self.num_tokens = 0
        self._sum_D = torch.zeros(width, dtype=torch.float64)
        self._squares = self._squared_error = 0.0
        self._num_active = 0

    def add(self, x_ND: Tensor, x_hat_ND: Tensor, sparse: SparseActivations) -> None:
        """Take in raw activations, their reconstruction and the active features."""
        exact_ND, error_ND = x_ND.double(), x_ND.double() - x_hat_ND.double()
        self.num_tokens += len(x_ND)
        self._sum_D += exact_ND.sum(0).cpu()
        self._squares += float(exact_ND.square().sum())
        self._squared_error += float(error_ND.square().sum())
        self._num_active += len(sparse.token_K)

    def explained_variance(self) -> float:
        """1 - sum |x - x^|^2 / sum |x - mean|^2."""
        variance = self._squares - float(self._sum_D.square().sum()) / self.num_tokens
        return 1 - self._squared_error / variance

    def mean_squared_error(self) -> float:
        """Mean of |x - x^|^2 over tokens, squared residual-stream units."""
        return self._squared_error / self.num_tokens

    def l0(self) -> float:
        """Mean number of active features per token."""
        return self._num_active / self.num_tokens


class Prediction(NamedTuple):
    """Sums over predicted tokens, in nats."""

    cross_entropy: float = 0.0
    divergence: float = 0.0
    """KL divergence from the unchanged model's distribution to this one's."""


def counted(x_BLD: Tensor, lengths_B: npt.NDArray[np.int64], sink_norm: float) -> Tensor:
    """Positions that are not left out: bool [B, L]."""
    return ~left_out(x_BLD, torch.from_numpy(own_of_batch(lengths_B, x_BLD.shape[1])), sink_norm)


def replaced(x_BLD: Tensor, counted_BL: Tensor, x_hat_ND: Tensor | float) -> Tensor:
    """The residual stream with the counted positions replaced, all others as they are."""
    changed_BLD = x_BLD.clone()
    changed_BLD[counted_BL] = x_hat_ND.to(x_BLD.dtype) if isinstance(x_hat_ND, Tensor) else x_hat_ND
    return changed_BLD


def predict(
    model: LanguageModel, tokens_BL: Tensor, lengths_B: npt.NDArray[np.int64], streams: Mapping[str, Tensor], base: str
) -> dict[str, Prediction]:
    """Next-token cross-entropy and divergence from `base`, summed over the tokens of a batch, per stream [B, L, D].

    Every token of the sequences is predicted once, the first one from BOS. Logits are made tile by tile.
    """
    place_BL = torch.arange(tokens_BL.shape[1])[None, :] < torch.from_numpy(lengths_B)[:, None]
    sequence_N, position_N = torch.nonzero(place_BL, as_tuple=True)
    target_N = tokens_BL[sequence_N, position_N + 1].to(model.device)
    hidden = {name: model.hidden_from(x_BLD)[sequence_N, position_N] for name, x_BLD in streams.items()}
    sums = dict.fromkeys(streams, Prediction())
    for start in range(0, len(target_N), TILE_POSITIONS):
        tile = slice(start, start + TILE_POSITIONS)
        base_TV = torch.log_softmax(model.head(hidden[base][tile]).float(), -1)
        for name, states_ND in hidden.items():
            logs_TV = base_TV if name == base else torch.log_softmax(model.head(states_ND[tile]).float(), -1)
            loss = -logs_TV.gather(1, target_N[tile, None]).double().sum()
            divergence = torch.linalg.vecdot(base_TV.exp(), base_TV - logs_TV).double().sum()
            before = sums[name]
            sums[name] = Prediction(before.cross_entropy + float(loss), before.divergence + float(divergence))
    return sums


def reconstruct(sae: SAE, x_ND: Tensor) -> tuple[SparseActivations, Tensor]:
    """Active features and x^ [N, D], float32."""
    sparse = sae.encode_sparse(x_ND.float())
    return sparse, sae.decode_sparse(sparse, len(x_ND))


def density_histogram(density_F: npt.NDArray[np.float32]) -> dict[str, list[float] | list[int] | int]:
    """Histogram of the densities of live features: counts between edges of log10(density), and the dead ones apart."""
    num_bins = -LOWEST_DENSITY * DENSITY_BINS_PER_DECADE
    edges = np.linspace(LOWEST_DENSITY, 0, num_bins + 1)
    live_F = density_F[density_F > 0]
    counts, _ = np.histogram(np.clip(np.log10(live_F), LOWEST_DENSITY, 0), edges)
    return {"log10_edges": edges.tolist(), "counts": counts.tolist(), "dead": int(len(density_F) - len(live_F))}
