"""How measured values are written."""

from typing import Any

import pytest

from data.published.metrics import loss_sample, recovered, with_interval


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (1.3931, 0.0841, "1.39 ± 0.08"), (1.3931, 0.152, "1.39 ± 0.15"), (1.3931, 0.41, "1.4 ± 0.4"),
        (1.3931, 0.0042, "1.393 ± 0.004"), (1.3931, 0.0, "1.393 ± 0.000"), (14.36, 7.0, "14 ± 7"),
        (-0.021, 0.03, "-0.021 ± 0.030"),
    ],
)  # fmt: skip
def test_a_value_has_no_more_digits_than_its_interval_supports(value: float, half: float, text: str) -> None:
    assert with_interval({"kl": value, "kl_ci": [value - half, value + half]}, "kl") == text


def test_without_an_interval_or_a_measurement() -> None:
    assert with_interval({"kl": 1.3931, "kl_ci": None}, "kl") == "1.39"
    assert with_interval({}, "kl") is None


def metrics(value: float | None) -> dict[str, Any]:
    interval = None if value is None else [value - 0.013, value + 0.013]
    return {"recovered_mean": value, "recovered_mean_ci": interval}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8764, "87.6 ± 1.3%"), (-0.2, "worse than replacing the stream by its mean"),
        (2.488, "better than the model itself"), (None, "the baseline is no worse than the model"),
        (1.0000001, "100.0 ± 1.3%"),
    ],
)  # fmt: skip
def test_what_is_no_share_is_said_in_words(value: float | None, text: str) -> None:
    assert recovered(metrics(value), "mean") == text
    assert recovered(metrics(value), "zero") is None


def test_the_sample_is_said() -> None:
    assert loss_sample({"num_ce_tokens": 20571, "num_ce_documents": 6}) == "20,571 tokens of 6 held-out documents"
    assert "one held-out document, which gives no interval" in (
        loss_sample({"num_ce_tokens": 4000, "num_ce_documents": 1}) or ""
    )
    assert loss_sample({}) is None
