"""Texts of the metrics of an SAE that rest on a sample of documents: pages and terminal say the same.

An SAE's `metrics` (stage `evaluate`, see docs/method.md) has a value by name, and under the name with `_ci` its 95%
interval [low, high], or None where there is one document alone.
"""

import math
from collections.abc import Mapping
from typing import Any

REPLACED_BY = {"mean": "its mean", "zero": "zeros"}
"""Replacement of the residual stream in the baselines that `recovered_mean` and `recovered_zero` are against."""
DIGITS_WITHOUT_INTERVAL = 2
"""After the point, of what has no interval."""
MOST_DIGITS = 3
NOTHING = 0.0005
"""A share that is less than this outside 0 to 1 is written as a share: rounding alone does as much."""


def with_interval(metrics: Mapping[str, Any], name: str, *, percent: bool = False) -> str | None:
    """A value with half its 95% interval, 1.39 ± 0.08, in no more digits than that supports; None if not measured."""
    value, interval = metrics.get(name), metrics.get(f"{name}_ci")
    if value is None:
        return None
    scale, unit = (100, "%") if percent else (1, "")
    if interval is None:
        return f"{scale * value:.{0 if percent else DIGITS_WITHOUT_INTERVAL}f}{unit}"
    half = scale * (interval[1] - interval[0]) / 2
    digits = _digits(half)
    return f"{scale * value:.{digits}f} ± {half:.{digits}f}{unit}"


def _digits(half: float) -> int:
    """Digits after the point that an interval supports: its half has two digits up to 35, 3.5, 0.35 ..., else one."""
    return MOST_DIGITS if half <= 0 else min(MOST_DIGITS, max(0, math.ceil(-math.log10(half / 3.5))))


def recovered(metrics: Mapping[str, Any], baseline: str) -> str | None:
    """Share of a baseline's added loss that an SAE does not add, in words where it is none; None if not measured."""
    if f"recovered_{baseline}" not in metrics:
        return None
    value = metrics[f"recovered_{baseline}"]
    if value is None:
        return "the baseline is no worse than the model"
    if value < -NOTHING:
        return f"worse than replacing the stream by {REPLACED_BY[baseline]}"
    if value > 1 + NOTHING:
        return "better than the model itself"
    return with_interval(metrics, f"recovered_{baseline}", percent=True)


def loss_sample(metrics: Mapping[str, Any]) -> str | None:
    """Sample that the losses were measured on: 20,571 tokens of 6 held-out documents; None if not measured."""
    if "num_ce_documents" not in metrics:
        return None
    documents = metrics["num_ce_documents"]
    if documents == 1:
        return f"{metrics['num_ce_tokens']:,} tokens of one held-out document, which gives no interval"
    return f"{metrics['num_ce_tokens']:,} tokens of {documents:,} held-out documents"
