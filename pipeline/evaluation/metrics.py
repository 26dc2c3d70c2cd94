"""Metrics of how well an SAE reconstructs the residual stream, and with how many features; see docs/method.md.

Shapes: N tokens, B sequences, L positions (BOS included), D width, F features.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.models.left_out import left_out
from pipeline.models.sae import SAE, SparseActivations

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
        exact_ND = x_ND.cpu().double()
        error_ND = exact_ND - x_hat_ND.cpu().double()
        self.num_tokens += len(x_ND)
        self._sum_D += exact_ND.sum(0)
        self._squares += float(exact_ND.square().sum())
        self._squared_error += float(error_ND.square().sum())
        self._num_active += len(sparse.token_K)

    def explained_variance(self) -> float | None:
        """1 - sum |x - x^|^2 / sum |x - mean|^2; None where the tokens do not vary, as one token alone does not."""
        if self.num_tokens < 2:
            return None
        variance = self._squares - float(self._sum_D.square().sum()) / self.num_tokens
        return 1 - self._squared_error / variance if variance > 0 else None

    def mean_squared_error(self) -> float | None:
        """Mean of |x - x^|^2 over tokens, squared residual-stream units; None without a token."""
        return self._squared_error / self.num_tokens if self.num_tokens else None

    def l0(self) -> float | None:
        """Mean number of active features per token; None without a token."""
        return self._num_active / self.num_tokens if self.num_tokens else None

    def metrics(self) -> dict[str, float | int | None]:
        """All of it, as it stands in metrics.json."""
        return {
            "explained_variance": self.explained_variance(),
            "l0": self.l0(),
            "mse": self.mean_squared_error(),
            "num_tokens": self.num_tokens,
        }


def counted(x_BLD: Tensor, own_BL: npt.NDArray[np.bool_], sink_norm: float) -> Tensor:
    """Positions that are not left out: bool [B, L]. own: those of the text's own tokens."""
    return ~left_out(x_BLD, torch.from_numpy(own_BL), sink_norm)


def reconstruct(sae: SAE, x_ND: Tensor) -> tuple[SparseActivations, Tensor]:
    """Active features and x^ [N, D], float32; on a CPU, what may be active is sought in bfloat16 where that is fast."""
    search = torch.bfloat16 if x_ND.device.type == "cpu" else torch.float32
    sparse = sae.encode_sparse(x_ND.float(), search)
    return sparse, sae.decode_sparse(sparse, x_ND)


def density_histogram(density_F: npt.NDArray[np.float32]) -> dict[str, list[float] | list[int] | int]:
    """Histogram of the densities of live features: counts between edges of log10(density), and the dead ones apart."""
    num_bins = -LOWEST_DENSITY * DENSITY_BINS_PER_DECADE
    edges = np.linspace(LOWEST_DENSITY, 0, num_bins + 1)
    live_F = density_F[density_F > 0]
    counts, _ = np.histogram(np.clip(np.log10(live_F), LOWEST_DENSITY, 0), edges)
    return {"log10_edges": edges.tolist(), "counts": counts.tolist(), "dead": int(len(density_F) - len(live_F))}
