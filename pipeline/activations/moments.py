"""Mean and spread of activations over any number of batches.

Shapes: N rows of one batch, D width.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor


class Moments:
    """Running mean and summed squared distance from it, in float64.

    Batches are merged by the update of Chan, Golub and LeVeque (1979), which does not subtract large numbers.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean_D: npt.NDArray[np.float64] = np.zeros(width)
        self.squares = 0.0
        """Sum of |x - mean|^2 over the rows so far."""

    def add(self, x_ND: Tensor) -> None:
        """Count these rows in."""
        if len(x_ND) == 0:
            return
        exact_ND = x_ND.cpu().double()
        mean_D = exact_ND.mean(0)
        squares = float((exact_ND - mean_D).square_().sum())
        step_D = mean_D.cpu().numpy() - self.mean_D
        total = self.count + len(x_ND)
        self.mean_D = self.mean_D + step_D * (len(x_ND) / total)
        self.squares += squares + float(step_D @ step_D) * self.count * len(x_ND) / total
        self.count = total

    @property
    def rms(self) -> float:
        """Root mean square norm of x - mean."""
        return float(np.sqrt(self.squares / max(self.count, 1)))

    def state(self) -> dict[str, Any]:
        """Everything needed to go on later."""
        return {"count": self.count, "mean_D": self.mean_D, "squares": self.squares}

    def restore(self, count: int, mean_D: npt.NDArray[np.float64], squares: float) -> None:
        """Go on from what `state` gave."""
        self.count, self.mean_D, self.squares = count, mean_D, squares
