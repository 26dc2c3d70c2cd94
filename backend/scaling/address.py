"""The state of the page of scaling laws in its address."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from backend.html.address import Address

MAX_BUDGET = 40
"""Characters."""
Along = Literal["tokens", "features"]


class ScalingState(Address):
    """Which grid is shown, and how."""

    path: ClassVar[str] = "/scaling"

    run: str = Field(default="", max_length=64)
    """Name of the run; the newest that has a grid where empty."""
    objective: str = Field(default="", max_length=64)
    """Key of a grid; the first where empty."""
    along: Along = "tokens"
    """What the figures of the metrics run along; a line for each of the other."""
    budget: str = Field(default="", max_length=MAX_BUDGET)
    """Budget that advice is asked for, as it was typed: 200gpu-hours, 1e18FLOPs, 5e8tokens."""

    @model_validator(mode="before")
    @classmethod
    def _flops(cls, given: Any) -> Any:
        """Reads older addresses, which name a number of FLOPs in place of a budget."""
        if isinstance(given, dict) and given.get("flops") and not given.get("budget"):
            return {**given, "budget": f"{given['flops']}FLOPs"}
        return given
