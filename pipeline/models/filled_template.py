"""A text that is a filled chat template already: which characters are the template's, and whose the others are.

What a template writes around messages is found by filling it with marks in place of their texts, for a few
conversations; each such stretch is looked for in the text, the longest first.
"""

import re
from collections.abc import Sequence

from pipeline.models.chat_template import Fill, Span, Speaker, around_texts
from pipeline.models.errors import ModelError

CONVERSATIONS: tuple[tuple[Speaker, ...], ...] = (
    ("user",), ("user", "assistant"), ("user", "assistant", "user"), ("system", "user"), ("developer", "user"),
    ("user", "assistant", "tool"),
)  # fmt: skip
"""By whose messages they are."""
Delimiters = dict[str, Speaker | None]
"""Stretches of a template by what they say, each with whose the text behind it is; None where that stays as it is."""


def find_delimiters(answered: Fill, prompted: Fill, special_names: Sequence[str]) -> Delimiters:
    """What a template writes before, between and after messages, as far as a special token stands in it.

    answered, prompted: fill it, the second with what begins an answer.
    """
    found: Delimiters = {}
    ends: tuple[tuple[Fill, Speaker | None], ...] = ((answered, None), (prompted, "assistant"))
    for fill, last in ends:
        for roles in CONVERSATIONS:
            try:
                around = around_texts(fill, roles)
            except ModelError:  # a template without such messages
                continue
            for stretch, role in zip(around, (*roles, last), strict=True):
                for part in _parts(stretch, special_names):
                    found.setdefault(part, role)
    return found


def _parts(stretch: str, special_names: Sequence[str]) -> list[str]:
    """A stretch, and its ends from each special token in it on; nothing where there is none."""
    places = [found.start() for found in _any_of(special_names).finditer(stretch)]
    return [stretch, *(stretch[place:] for place in places)] if places else []


def _any_of(texts: Sequence[str]) -> re.Pattern[str]:
    """Any of some texts, the longest first."""
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or r"\b\B")


def spans_between(text: str, delimiters: Delimiters, special_names: Sequence[str]) -> list[Span]:
    """The characters of a text that are not the template's, and whose they are."""
    spans: list[Span] = []
    role: Speaker = "user"
    place = 0
    for found in _any_of([*delimiters, *special_names]).finditer(text):
        if found.start() > place:
            spans.append(Span(place, found.start(), role))
        role = delimiters.get(found[0]) or role
        place = found.end()
    if place < len(text):
        spans.append(Span(place, len(text), role))
    return spans
