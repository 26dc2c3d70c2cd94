"""The address of the two pages of splitting: with a feature its family, without one the sizes of a run."""

from typing import Annotated

from pydantic import AfterValidator, Field

from backend.html.address import PagedAddress, ShortFloat
from backend.splitting.sizes import NewFeatureOrder

DEFAULT_THRESHOLD = 0.5
"""Threshold to begin with."""
Threshold = Annotated[ShortFloat, Field(ge=0, le=1), AfterValidator(lambda value: round(value, 2))]
"""Least cosine of decoder directions that makes a relative; in hundredths."""
NewFeaturesPageNumber = Annotated[int, Field(ge=1, le=100_000)]


class CompareState(PagedAddress):
    """The query string of both pages."""

    path = "/compare"
    always = ("t", "order")
    safe = "/"

    f: str = ""
    """model/sae/index of the feature whose family is shown; all else but `t` and `minor` is for the sizes alone."""
    run: str | None = None
    """Name of the run; the newest by default."""
    t: Threshold = DEFAULT_THRESHOLD
    minor: bool = False
    """Whether rare and negligible features count too."""
    sae: str = ""
    """Name of the SAE whose new features are listed."""
    other: str = ""
    """Name of the SAE that lacks them, or ALL_SMALLER."""
    order: NewFeatureOrder = "max"
    page: NewFeaturesPageNumber = 1

    def pairs(self) -> list[tuple[str, str]]:
        return [pair for pair in super().pairs() if not self.f or pair[0] in ("f", "t", "minor")]
