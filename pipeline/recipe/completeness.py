"""Section of the recipe on completeness: which concepts are looked for among the features."""

from pipeline.recipe.section import Positive, Section

LISTS = (
    "countries",
    "us-states",
    "capitals",
    "london-boroughs",
    "chemical-elements",
    "animals",
    "foods",
    "programming-languages",
)
"""Lists of concepts that come with the code, see pipeline/completeness/concepts/."""


class CompletenessConfig(Section):
    """Which concepts have a feature of their own."""

    lists: tuple[str, ...] = LISTS
    """Lists of ours by name, or text files by path (data/concepts/lists.py says how they are written); none: nothing is
    measured."""
    max_tokens: Positive | None = None
    """Training tokens in which concepts are counted; None counts in all."""
