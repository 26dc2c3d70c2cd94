"""The artifact of stage `completeness`: which concepts have a feature of their own, and what shows it.

Files: concepts.arrow, and for every SAE {sae}/candidates.arrow and {sae}/activity.arrow. A concept is named by its
number, over all lists; a prompt by its own, those of a concept in a row, one for each prompt of its list. The lists,
their prompts and what follows of them for each SAE stand in the manifest's counts, see CompletenessCounts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import pyarrow as pa

from data.concepts.frequency import Bin, Fit

CONCEPTS_FILE, CANDIDATES_FILE, ACTIVITY_FILE = "concepts.arrow", "candidates.arrow", "activity.arrow"

CONCEPTS = pa.schema(
    [
        pa.field("list", pa.int16(), nullable=False),  # its number in the lists of the run; rows are sorted by it
        pa.field("name", pa.string(), nullable=False),
        pa.field("other_spellings", pa.list_(pa.string()), nullable=False),
        pa.field("occurrences", pa.int64(), nullable=False),  # on whole words in the training documents
    ]
)

CANDIDATES = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),  # of the feature
        pa.field("concept", pa.int32(), nullable=False),  # rows are sorted by it, then rank
        pa.field("rank", pa.int8(), nullable=False),  # 0 is the most active, on average, on the concept's prompts
        pa.field("mean", pa.float32(), nullable=False),  # that activation
        pa.field("own", pa.int16(), nullable=False),  # prompts of the concept on which it fires
        pa.field("others", pa.int32(), nullable=False),  # prompts of other concepts on which it fires, kin left out
        pa.field("num_rivals", pa.int32(), nullable=False),  # concepts that these hold
        pa.field("rivals", pa.list_(pa.int32()), nullable=False),  # the strongest few of these
        # Of its examples in the corpus at which it fires, all, and those that stand on the concept; null where they
        # were not looked at, for it is not specific on the prompts.
        pa.field("num_examples_read", pa.int16()),
        pa.field("num_on_concept", pa.int16()),
        pa.field("specific", pa.bool_(), nullable=False),  # it is the concept's own, see data/concepts/specificity.py
        pa.field("nearest", pa.bool_(), nullable=False),  # the best of the concept's, specific or not: one of each
    ]
)

ACTIVITY = pa.schema(
    [
        pa.field("prompts", pa.list_(pa.int32()), nullable=False),  # on whose last token it is above zero, ascending
        pa.field("values", pa.list_(pa.float32()), nullable=False),
    ]
)
"""One row per feature."""


@dataclass(frozen=True)
class ListCounts:
    """One list of concepts."""

    name: str
    """In addresses."""
    title: str
    templates: list[str]
    num_concepts: int
    ambiguous: list[str] = field(default_factory=list)
    """Of these, those that are also ordinary words or names: no share counts them. Older runs mark none."""

    @property
    def num_counted(self) -> int:
        """Concepts of which shares are."""
        return self.num_concepts - len(self.ambiguous)


@dataclass(frozen=True)
class SharedFeature:
    """The feature that tells the concepts of a list best from all others, see data/concepts/specificity.py."""

    feature: int
    """Its index."""
    inside: int
    """Concepts of the list on which it fires."""
    outside: int
    """Concepts of other lists on which it does."""


@dataclass(frozen=True)
class SAECounts:
    """What was found of one SAE."""

    num_alive: int
    """Features that are not dead: active on some token that was counted."""
    num_represented: int
    """Concepts that are, but for ambiguous ones; so too in all that follows but `shared`."""
    by_list: list[int]
    """Concepts of each list that are represented."""
    shared: list[SharedFeature | None]
    """Of each list; None where no feature is active on any concept of it."""
    bins: list[Bin]
    fit: Fit | None
    why_no_fit: str
    """The reason, as a sentence; "" when there is one."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """One from plain JSON."""
        fit = Fit(**raw["fit"]) if raw["fit"] else None
        shared = [SharedFeature(**one) if one else None for one in raw["shared"]]
        return cls(**{**raw, "shared": shared, "bins": [Bin(**one) for one in raw["bins"]], "fit": fit})


@dataclass(frozen=True)
class CompletenessCounts:
    """The manifest's counts."""

    why_none: str = ""
    """The reason why nothing was measured, as a sentence; "" when it was."""
    lists: list[ListCounts] = field(default_factory=list)
    num_tokens: int = 0
    """Tokens in which concepts were counted."""
    num_prompts: int = 0
    saes: dict[str, SAECounts] = field(default_factory=dict)

    @property
    def num_concepts(self) -> int:
        return sum(one.num_concepts for one in self.lists)

    @property
    def num_counted(self) -> int:
        """Concepts of which shares are."""
        return sum(one.num_counted for one in self.lists)

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """One from plain JSON."""
        lists = [ListCounts(**one) for one in raw["lists"]]
        saes = {name: SAECounts.from_json(one) for name, one in raw["saes"].items()}
        return cls(**{**raw, "lists": lists, "saes": saes})
