"""Rules: labels from statistics as structured data, which can be run over any text.

A rule is one or two conditions on a token that must all hold: what its word is, what stands beside it, where it stands,
or what stands near it.
"""

import json
from typing import Literal, NamedTuple

At = Literal["here", "previous", "next", "near"]
Kind = Literal["word", "class", "trait", "stem", "affix", "piece"]
Part = Literal["any", "first", "last"]

BEFORE, AFTER = 20, 12
"""Tokens before and after one within which a word counts as near."""


class Condition(NamedTuple):
    """A condition on a token."""

    at: At
    """Of which word it speaks: the token's own, the one before or after it, or any near it (BEFORE, AFTER)."""
    kind: Kind
    """word: the word is one of `words`; class: it is in one of these classes (classes.py); trait: it has this trait
    (traits.py); stem, affix: it begins, or begins or ends, so; piece: the token itself is this text."""
    words: tuple[str, ...]
    """Folded words, or names."""


class Rule(NamedTuple):
    """Where a feature is said to be active."""

    conditions: tuple[Condition, ...]
    part: Part = "any"
    """Tokens of the word it speaks of, where a word has several: all of them, the first, or the last."""

    def to_json(self) -> str:
        """The rule as text for a table."""
        conditions = [condition._asdict() for condition in self.conditions]
        return json.dumps({"conditions": conditions, "part": self.part}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Rule":
        """The rule of such a text."""
        raw = json.loads(text)
        conditions = (Condition(one["at"], one["kind"], tuple(one["words"])) for one in raw["conditions"])
        return cls(tuple(conditions), raw["part"])
