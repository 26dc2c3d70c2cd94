"""What the labels of an SAE are worth on average: scores of its features that were drawn at random."""

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from scipy.special import stdtrit

from data.artifacts.scores import LEAST_RANDOM
from pipeline.scores.asking import Found, Score, ScoredSAE


def summarise(sae: ScoredSAE, found: Found, random: Collection[int], names: Sequence[str]) -> list[dict[str, Any]]:
    """Mean score of random features by judge and task, with its 95% interval. names: of the judges.

    random: indices of those that were drawn at random; all others were chosen because pages lead with them.
    """
    drawn = [score for score in found.scores if sae.features[score.feature].index in random]
    summary = []
    for (judge, task), scores in groupby(sorted(drawn, key=_question), _question):
        values = np.array([score.value for score in scores])
        if len(values) >= LEAST_RANDOM:
            mean, half = float(values.mean()), _half_interval(values)
            one = {"judge": names[judge], "task": task, "num": len(values)}
            summary.append({**one, "mean": mean, "low": mean - half, "high": mean + half})
    return summary


def _question(score: Score) -> tuple[int, str]:
    return score.judge, score.task


def _half_interval(values: np.ndarray) -> float:
    """Half of the 95% interval of their mean, by Student's t."""
    return float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
