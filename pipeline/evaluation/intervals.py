"""Ratios of sums over documents, and how far another sample of documents would move them.

Tokens of one document are alike, so the unit of sampling is the document: see docs/method.md. Shapes: M documents.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A value measured on a sample of documents."""

    value: float
    standard_error: float | None
    """None: one document does not say how much documents differ."""
    num_documents: int

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """By Student's t with one degree of freedom fewer than there are documents."""
        if self.standard_error is None:
            return None
        half = t_quantile(confidence, self.num_documents - 1) * self.standard_error
        return self.value - half, self.value + half


def estimate_ratio(above_M: npt.NDArray[np.float64], below_M: npt.NDArray[np.float64]) -> Estimate:
    """sum(above) / sum(below), with the standard error of the ratio estimator (delta method, documents as clusters).

    Cochran, Sampling Techniques (1977), section 6: with residuals e = above - ratio * below,
    se^2 = M / (M - 1) * sum(e^2) / sum(below)^2.
    """
    total = float(below_M.sum())
    value, count = float(above_M.sum()) / total, len(below_M)
    if count < 2:
        return Estimate(value, None, count)
    residual_M = above_M - value * below_M
    error = float(np.sqrt(count / (count - 1) * np.square(residual_M).sum())) / abs(total)
    return Estimate(value, error, count)


def t_quantile(confidence: float, degrees: float) -> float:
    """How many standard errors a two-sided interval reaches on either side."""
    return float(stdtrit(degrees, (1 + confidence) / 2))
