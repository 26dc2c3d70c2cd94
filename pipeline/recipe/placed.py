"""The part of the recipe that says which hook an autoencoder reads."""

from typing import Annotated

from pydantic import Field

from data.hooks import Hook
from pipeline.recipe.section import Section, is_none


class Placed(Section):
    """An autoencoder that may read another place of the model than `model.layer` and `model.hook` say."""

    layer: Annotated[int | None, Field(ge=0, exclude_if=is_none)] = None
    """None is the model's."""
    hook: Annotated[Hook | None, Field(exclude_if=is_none)] = None
    """None is the model's."""
