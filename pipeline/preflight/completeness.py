"""The lists of concepts: that each can be read."""

from data.errors import ConfigError
from pipeline.completeness.lists import load_lists
from pipeline.recipe import Recipe


def concept_problems(recipe: Recipe) -> list[str]:
    """What is wrong with the first list that cannot be used, as a sentence; nothing where all can."""
    try:
        load_lists(recipe.completeness.lists)
    except ConfigError as error:
        return [str(error)]
    return []
