"""Words as the search takes them, for texts that are published and for what people type.

A word is a run of letters and digits (with their combining marks), one Chinese or Japanese character, or one sign.
Words are compared in one form: case and Latin accents do not count, and letters in their compatible spelling. A word is
found by its beginnings, so what is indexed of a text are its terms: every beginning of every word.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

MAX_WORD = 24
"""Words are compared by this many characters."""
_ASCII = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
_ACCENTS = re.compile("[\u0300-\u036f]")
_ALONE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Scripts without spaces: each character is a word."""


class Word(NamedTuple):
    """A word where it stands in a text."""

    start: int
    stop: int
    form: str
    """As it is compared; never empty, without white space."""
    sign: bool
    """Whether it is a sign: neither letters nor digits."""


def words(text: str) -> Iterator[Word]:
    """The words of a text in their order."""
    if text.isascii():
        for match in _ASCII.finditer(text):
            form = match[0].lower()[:MAX_WORD]
            yield Word(match.start(), match.end(), form, not form[0].isalnum())
        return
    start, kind = 0, ""
    for place, character in enumerate(text + " "):
        here = _kind(character, kind)
        if kind and (here != "letter" or kind != "letter"):
            yield Word(start, place, fold(text[start:place]), kind == "sign")
            kind = ""
        if not kind:
            start, kind = place, here


def terms(texts: Iterable[str]) -> list[str]:
    """Index terms of some texts: every beginning of every word once, and the word itself once more for each text.

    So a whole word ranks above a word that only begins with it, and a word of many texts above that of one.
    """
    wholes = [form for text in texts for form in forms(text)]
    beginnings: dict[str, None] = {}
    for form in dict.fromkeys(wholes):
        beginnings |= _beginnings(form)
    return [*beginnings, *wholes]


def query_words(text: str) -> list[str]:
    """The words to search for in what somebody typed, each once: signs count only where there is nothing else."""
    found = list(words(text))
    plain = [word.form for word in found if not word.sign]
    return list(dict.fromkeys(plain or [word.form for word in found]))


@lru_cache(1 << 16)
def fold(word: str) -> str:
    """A word as it is compared: at most MAX_WORD characters."""
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", word.casefold()))
    return "".join(plain.casefold().split())[:MAX_WORD] or word[:MAX_WORD]


@lru_cache(1 << 17)
def forms(text: str) -> tuple[str, ...]:
    """The words of a text as they are compared, each once."""
    if text.isascii():  # the same as below, in a fourth of the time
        return tuple(dict.fromkeys(form[:MAX_WORD] for form in _ASCII.findall(text.lower())))
    return tuple(dict.fromkeys(word.form for word in words(text)))


@lru_cache(1 << 17)
def _beginnings(form: str) -> dict[str, None]:
    return dict.fromkeys(form[:length] for length in range(1, len(form) + 1))


def _kind(character: str, before: str) -> str:
    """letter, alone (a word of its own), sign, or "" for what separates."""
    if _ALONE.match(character):
        return "alone"
    category = unicodedata.category(character)[0]
    if category == "M":  # belongs to what it stands on
        return "letter" if before == "letter" else ""
    return {"L": "letter", "N": "letter", "P": "sign", "S": "sign"}.get(category, "")
