"""Calibration: measured once, on the first batches of a harvest, and valid for all of its rows.

Shapes: N rows, D width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.models.left_out import are_sinks, measure_sink_norm, row_norms

INT8_HEADROOM = 1.25
"""The int8 range reaches this far beyond the largest value of the first batches."""
INT8_LARGEST = 127


@dataclass(frozen=True)
class Calibration:
    """The rule by which rows are left out, and how they are stored as int8."""

    threshold: float
    """Norm above which a token is an attention sink."""
    scales_D: npt.NDArray[np.float32]
    """int8: value = stored * scale."""

    @classmethod
    def measure(cls, x_ND: Tensor, sink_factor: float) -> Self:
        """From tokens that are neither opening nor padding."""
        threshold = measure_sink_norm(row_norms(x_ND), sink_factor)
        largest_D = x_ND[~are_sinks(x_ND, threshold)].float().abs().amax(0).cpu().numpy()
        return cls(threshold, np.maximum(largest_D * (INT8_HEADROOM / INT8_LARGEST), np.finfo(np.float32).tiny))

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, threshold=np.float64(self.threshold), scales_D=self.scales_D)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The calibration that an earlier attempt measured."""
        with np.load(path) as saved:
            return cls(float(saved["threshold"]), saved["scales_D"])

    def quantise(self, x_ND: Tensor) -> tuple[npt.NDArray[np.int8], int]:
        """Rows as int8 [N, D], and how many values were cut off at the ends of the range."""
        steps_ND = (x_ND.float() / torch.from_numpy(self.scales_D).to(x_ND.device)).round_()
        num_clipped = int((steps_ND.abs() > INT8_LARGEST).sum())
        return steps_ND.clamp_(-INT8_LARGEST, INT8_LARGEST).to(torch.int8).cpu().numpy(), num_clipped
