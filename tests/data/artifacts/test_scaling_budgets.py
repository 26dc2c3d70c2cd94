"""Budgets of compute as people write them."""

import pytest

from data.artifacts.scaling_budgets import Budget, read_budget
from data.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("200gpu-hours", Budget(200, "gpu-hours")),
        ("1.5 GPU hours", Budget(1.5, "gpu-hours")),
        ("3h", Budget(3, "hours")),
        ("1e18FLOPs", Budget(1e18, "flops")),
        ("5,000,000 tokens", Budget(5e6, "tokens")),
    ],
)
def test_budgets_are_read(text, budget):
    assert read_budget(text) == budget


@pytest.mark.parametrize(
    "text",
    [
        "",
        "much",
        "200",
        "gpu-hours",
        "1e18 bananas",
        "1e-e tokens",
        "nantokens",
        "1,5 hours",
        "0,5h",
        "1,00,000 tokens",
    ],
)
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(ConfigError, match="is no budget: give a number and its unit"):
        read_budget(text)


@pytest.mark.parametrize("text", ["0 tokens", "-5hours", "1e400 flops", "inf flops"])
def test_budgets_without_sense_get_a_message(text):
    with pytest.raises(ConfigError, match="outside all sense"):
        read_budget(text)
