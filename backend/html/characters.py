r"""Characters that are not seen, or that turn the text around them: what stands for them, and what they are called.

A character stays itself wherever a reader needs it: spaces of all kinds, and joiners between letters or emoji. Where it
stands alone nothing would be seen, so a short mark like ‹ZWNJ› stands for it. Controls that turn the direction of a
text, other controls and what no font can show are always marks. Whatever is shown so has a name, for a title.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

PART = "◌"
"""Stands for a token that holds an earlier part of a character, and below a combining mark that stands alone."""
NEWLINE, TAB, SPACE, UNKNOWN = "↵", "⇥", "␣", "▯"
LINE_ENDS = frozenset("\n\u2028\u2029")
TURNS = {
    "\u061c": "ALM",
    "\u200e": "LRM",
    "\u200f": "RLM",
    "\u202a": "LRE",
    "\u202b": "RLE",
    "\u202c": "PDF",
    "\u202d": "LRO",
    "\u202e": "RLO",
    "\u2066": "LRI",
    "\u2067": "RLI",
    "\u2068": "FSI",
    "\u2069": "PDI",
}
"""They change the direction of the text around them."""
UNSEEN = {
    "\u00a0": "NBSP",
    "\u00ad": "SHY",
    "\u2003": "EMSP",
    "\u2002": "ENSP",
    "\u2009": "THSP",
    "\u200b": "ZWSP",
    "\u200c": "ZWNJ",
    "\u200d": "ZWJ",
    "\u202f": "NNBSP",
    "\u2060": "WJ",
    "\u3000": "IDSP",
    "\ufe0f": "VS16",
    "\ufeff": "BOM",
}
"""Spaces and characters without a width, by the letters that people know them by."""
OTHER_SPACE, OTHER_UNSEEN = "SP", "ZW"
_NAMES = {
    NEWLINE: "line break",
    TAB: "tab",
    SPACE: "space",
    PART: "part of a character",
    UNKNOWN: "control or unassigned character",
    f"‹{OTHER_SPACE}›": "space of another width",
    f"‹{OTHER_UNSEEN}›": "character without a width",
    **{f"‹{short}›": unicodedata.name(one).lower() for one, short in (TURNS | UNSEEN).items()},
}
_NAMED = re.compile(rf"‹[A-Z0-9]+›|{PART}[^\x20-\x7e]?|[{NEWLINE}{TAB}{SPACE}{UNKNOWN}]|\\x[0-9a-f]{{2}}|[^\x20-\x7e]")


@lru_cache(1 << 12)
def is_unseen(character: str) -> bool:
    """Whether a character does not show: a space, a joiner, a soft hyphen, a tag, a variation selector."""
    if character in TURNS:
        return False
    selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    return selector or unicodedata.category(character) in ("Zs", "Cf")


def is_seen(text: str) -> bool:
    """Whether anything of a text shows."""
    return any(not (character.isspace() or is_unseen(character)) for character in text)


@lru_cache(1 << 12)
def in_text(character: str) -> str:
    r"""A character inside a text: as it is, or the mark that stands for it; \xNN for controls of ASCII."""
    if character.isprintable() or is_unseen(character):
        return character
    if character in TURNS:
        return f"‹{TURNS[character]}›"
    if character in LINE_ENDS:
        return NEWLINE
    if character == "\t":
        return TAB
    return f"\\x{ord(character):02x}" if character.isascii() else UNKNOWN


@lru_cache(1 << 12)
def alone(character: str) -> str:
    """A character that stands where nothing else shows: a mark for a space and for what has no width."""
    if character == " ":
        return SPACE
    if is_unseen(character):
        return f"‹{UNSEEN.get(character) or (OTHER_SPACE if character.isspace() else OTHER_UNSEEN)}›"
    return PART + character if unicodedata.category(character)[0] == "M" else in_text(character)


def text_alone(text: str) -> str:
    """A text that stands alone: seen as a whole, and a combining mark at its start on a circle."""
    if not is_seen(text):
        return "".join(map(alone, text))
    return alone(text[0]) + "".join(map(in_text, text[1:]))


@lru_cache(1 << 14)
def title_of(shown: str) -> str:
    """The names of what is unusual in a text as it is shown; "" for nothing."""
    return ", ".join(dict.fromkeys(_names_in(shown)))


def _names_in(shown: str) -> Iterator[str]:
    seen = bool(shown.strip("".join((SPACE, NEWLINE, TAB, " "))))
    for match in _NAMED.finditer(shown):
        part = match[0]
        if part in _NAMES:
            if part != SPACE or not seen:
                yield _NAMES[part]
        elif part.startswith("\\x"):
            yield "bytes that are no whole character"
        elif part.startswith(PART):
            combining = unicodedata.category(part[1])[0] == "M"
            yield unicodedata.name(part[1], "combining mark").lower() if combining else _NAMES[PART]
        elif len(part) == 1 and is_unseen(part) and unicodedata.category(part)[0] != "M":
            yield unicodedata.name(part, "character without a width").lower()
