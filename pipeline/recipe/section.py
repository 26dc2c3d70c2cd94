"""The base of the recipe's sections, and the types of values that several of them have."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

SLUG_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"
LONGEST_NAME = 64
Slug = Annotated[str, StringConstraints(pattern=SLUG_PATTERN, max_length=LONGEST_NAME)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


def is_none(value: object) -> bool:
    """Whether a field is left out of what is written down."""
    return value is None


class Section(BaseModel):
    """A part of the recipe. Unknown fields are refused; values cannot change once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)
