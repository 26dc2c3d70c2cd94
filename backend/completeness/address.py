"""The states of the pages of completeness in their addresses."""

from typing import Literal

from pydantic import Field

from backend.html.address import PagedAddress

Shown = Literal["represented", "missing", "ambiguous", "all"]


class CompletenessState(PagedAddress):
    """Which concepts are shown, of which SAE."""

    path = "/completeness"

    run: str = Field(default="", max_length=64)
    """"" for the newest."""
    sae: str = Field(default="", max_length=64)
    """Name of an SAE of the run; "" for the one in which most are represented."""
    kind: str = Field(default="", max_length=64, alias="list")
    """Name of a list of the run; "" for all."""
    show: Shown = "represented"
    page: int = Field(default=1, ge=1, le=10_000)


class OwnState(PagedAddress):
    """Which concepts of an uploaded list are shown, of which SAE."""

    sae: str = Field(default="", max_length=200)
    """model/name; "" for the one that explains most of the newest run."""
    page: int = Field(default=1, ge=1, le=10_000)
