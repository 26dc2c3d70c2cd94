"""What was searched for, marked in a text that has it."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.html.characters import in_text
from backend.html.tokens import visible_text
from data.published.terms import Word, all_words


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a text."""

    text: str
    hit: bool
    """Whether it matches a word of the search."""


def mark(text: str, wanted: Sequence[str]) -> list[Segment]:
    """A text in pieces, those that begin as a wanted word does marked; invisible characters are made visible."""
    segments, shown = [], 0
    for word in all_words(text):
        stop = _marked_to(word, wanted)
        if stop > shown <= word.start:
            if word.start > shown:
                segments.append(Segment(_inside(text[shown : word.start]), False))
            segments.append(Segment(_inside(text[word.start : stop]), True))
            shown = stop
    if shown < len(text):
        segments.append(Segment(_inside(text[shown:]) if shown else visible_text(text), False))
    return segments


def _inside(text: str) -> str:
    """A part of a text, whose joiners and spaces stand between its neighbours."""
    return "".join(map(in_text, text))


def _marked_to(word: Word, wanted: Sequence[str]) -> int:
    """End of what is marked of a word; 0 where it begins as none of the wanted ones."""
    length = max((len(one) for one in wanted if word.form.startswith(one)), default=0)
    if not length:
        return 0
    return word.stop if word.reach == word.stop else max(word.stop, word.start + length)
