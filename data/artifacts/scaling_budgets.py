"""Budgets of compute as people write them: 200gpu-hours, 3hours, 1e18FLOPs, 5e8tokens."""

import math
import re
from typing import Literal, NamedTuple

from data.errors import ConfigError

Unit = Literal["gpu-hours", "hours", "flops", "tokens"]

UNITS: dict[str, Unit] = {
    "gpu-hours": "gpu-hours",
    "gpu-hour": "gpu-hours",
    "gpuh": "gpu-hours",
    "hours": "hours",
    "hour": "hours",
    "h": "hours",
    "flops": "flops",
    "flop": "flops",
    "tokens": "tokens",
    "token": "tokens",
}
EXAMPLES = "200gpu-hours, 3hours (of the machine that trained the grid), 1e18FLOPs or 5e8tokens"


class Budget(NamedTuple):
    """An amount of something."""

    amount: float
    unit: Unit

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"


def read_budget(text: str) -> Budget:
    """The budget that a text names. Raises ConfigError when it names none, or one of nothing."""
    match = re.fullmatch(
        r"\s*([-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?|[-+0-9._e]+?|[-+]?(?:nan|inf|infinity))\s*([a-z][a-z -]*)\s*",
        text.casefold(),
    )
    try:
        amount = float(match[1].replace(",", "").replace("_", "")) if match else math.nan
    except ValueError:
        amount = math.nan
    unit = UNITS.get(match[2].strip().replace(" ", "-")) if match else None
    if unit is None or (match and math.isnan(amount)):
        raise ConfigError(f"'{text}' is no budget: give a number and its unit, as in {EXAMPLES}")
    if not 0 < amount < math.inf:
        raise ConfigError(f"a budget of '{text}' is outside all sense: give a number above 0, as in {EXAMPLES}")
    return Budget(amount, unit)
