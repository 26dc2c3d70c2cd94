"""Words as the search takes them, for texts that are published and for what people type.

A word is a run of letters and digits (with their combining marks), one Chinese or Japanese character, or one sign.
Words that signs or joiners hold together (C++, x86-64, don't) are one more word, a compound. Thai, Lao, Khmer and
Burmese put no spaces between words: there a word begins at every letter and goes on as far as MAX_RUN, so that words
are found wherever they stand in a sentence.

Words are compared in one form: case, accents of Latin and vowel marks of Arabic and Hebrew do not count, and letters in
their compatible spelling. A word is found by its beginnings, so what is indexed of a text are its terms: every
beginning of every word.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

MAX_WORD = 24
"""Words are compared by this many characters."""
MAX_RUN = 10
"""Words of scripts without spaces, where each letter begins one."""
SHORT_PART = 3
"""A compound that has a shorter part is looked for as a whole: its parts say too little."""
ASCII_WORD = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
"""Of ASCII alone."""
_COMPOUND = re.compile(r"[a-z0-9]+(?:(?:[-+#.&'/@:_]+[a-z0-9]+)+[+#]*|[+#]+)")
_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u0640\u064b-\u065f\u0670]")
_ALONE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Scripts without spaces whose characters are words."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9fe\uaa60-\uaa7f]")
"""Scripts without spaces whose characters are sounds: Thai, Lao, Burmese, Khmer."""
JOINERS = "\u00ad\u200c\u200d\u2060"
"""Characters that do not show, and stand inside of words."""
HOLDING = frozenset("-+#.&'/@:")
"""Signs that hold words together, as they are compared."""
_SAME_LETTERS = str.maketrans({"ي": "ی", "ى": "ی", "ك": "ک"})
"""Letters that Arabic and Persian keyboards have apart."""
_SAME_SIGNS = str.maketrans({"’": "'", "‘": "'", "‐": "-", "‑": "-", "–": "-", "_": "-"})
"""Apostrophes and dashes that people write for one another inside of compounds."""
_DROPPED = str.maketrans(dict.fromkeys(JOINERS))


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script that puts no spaces between words."""
    return bool(_ALONE.match(character) or _UNSPACED.match(character))


class Word(NamedTuple):
    """A word where it stands in a text."""

    start: int
    stop: int
    form: str
    """As it is compared; never empty, without white space."""
    sign: bool
    """Whether it is a sign: neither letters nor digits."""
    reach: int
    """End of what the form holds: beyond `stop` in scripts without spaces."""


def words(text: str) -> Iterator[Word]:
    """The words of a text in their order, none inside of another; compounds are left out."""
    if text.isascii():
        for match in ASCII_WORD.finditer(text):
            form = match[0].lower()[:MAX_WORD]
            yield Word(match.start(), match.end(), form, not form[0].isalnum(), match.end())
        return
    start, kind = 0, ""
    for place, character in enumerate(text + " "):
        here = _kind(character, kind)
        if kind and not (here == kind == "letter" or here == "mark"):
            yield _word(text, start, place, kind)
            kind = ""
        if not kind:
            start, kind = place, here


def compounds(text: str, found: Sequence[Word]) -> Iterator[Word]:
    """The compounds among the words of a text."""
    first = 0
    for last in range(1, len(found) + 1):
        if last == len(found) or not _hold(text, found[last - 1], found[last]):
            yield from _compound(text, found[first:last])
            first = last


def all_words(text: str) -> list[Word]:
    """Words and compounds in their order, a compound before its first word."""
    found = list(words(text))
    return sorted([*found, *compounds(text, found)], key=lambda word: (word.start, -word.stop))


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
    """The words to search for in what somebody typed, each once: signs count only where there is nothing else.

    A compound takes the place of its parts where one of them says little, or a sign ends it: C++, x86-64.
    """
    found = list(words(text))
    whole = [one for one in compounds(text, found) if _is_needed(one, found)]
    apart = [word for word in found if not any(one.start <= word.start < one.stop for one in whole)]
    asked = sorted([*whole, *_without_overlaps(apart)])
    plain = [word.form for word in asked if not word.sign]
    return list(dict.fromkeys(plain or [word.form for word in asked]))


@lru_cache(1 << 16)
def fold(word: str) -> str:
    """A word as it is compared: at most MAX_WORD characters."""
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", word.casefold()))
    return "".join(plain.casefold().split()).translate(_DROPPED).translate(_SAME_LETTERS)[:MAX_WORD] or word[:MAX_WORD]


@lru_cache(1 << 17)
def forms(text: str) -> tuple[str, ...]:
    """The words and compounds of a text as they are compared, each once."""
    if text.isascii():  # the same as below, in a fourth of the time
        lower = text.lower()
        held = (form.replace("_", "-") for form in _COMPOUND.findall(lower))
        return tuple(dict.fromkeys(form[:MAX_WORD] for form in (*ASCII_WORD.findall(lower), *held)))
    found = list(words(text))
    return tuple(dict.fromkeys(word.form for word in (*found, *compounds(text, found))))


@lru_cache(1 << 17)
def _beginnings(form: str) -> dict[str, None]:
    return dict.fromkeys(form[:length] for length in range(1, len(form) + 1))


def _kind(character: str, before: str) -> str:
    """letter, alone or unspaced (a word of its own), mark (of what it stands on), sign, or "" for what separates."""
    if _ALONE.match(character):
        return "alone"
    category = unicodedata.category(character)[0]
    if category == "M":
        return "mark" if before in ("letter", "unspaced") else ""
    if category == "L" and _UNSPACED.match(character):
        return "unspaced"
    return {"L": "letter", "N": "letter", "P": "sign", "S": "sign"}.get(category, "")


def _word(text: str, start: int, stop: int, kind: str) -> Word:
    if kind != "unspaced":
        return Word(start, stop, fold(text[start:stop]), kind == "sign", stop)
    reach = stop
    while reach < min(len(text), start + MAX_RUN) and _UNSPACED.match(text[reach]):
        reach += 1
    return Word(start, stop, text[start:reach], False, reach)


def _hold(text: str, word: Word, after: Word) -> bool:
    """Whether two words that follow one another may be of one compound."""
    between = text[word.stop : after.start]
    if between.strip(JOINERS) or not (_may_join(word) and _may_join(after)):
        return False
    return bool(between) or word.sign or after.sign


def _may_join(word: Word) -> bool:
    if word.sign:
        return word.form.translate(_SAME_SIGNS) in HOLDING
    return word.reach == word.stop and not _ALONE.match(word.form)


def _compound(text: str, parts: Sequence[Word]) -> Iterator[Word]:
    """The compound of some words that hold together, without signs at its ends but for + and #."""
    plain = [number for number, word in enumerate(parts) if not word.sign]
    if not plain:
        return
    first, last = plain[0], plain[-1]
    while last + 1 < len(parts) and parts[last + 1].form in "+#":
        last += 1
    if last > first:
        start, stop = parts[first].start, parts[last].stop
        yield Word(start, stop, fold(text[start:stop]).translate(_SAME_SIGNS), False, stop)


def _is_needed(compound: Word, found: Sequence[Word]) -> bool:
    parts = [word for word in found if compound.start <= word.start < compound.stop]
    return parts[-1].sign or any(len(word.form) < SHORT_PART for word in parts if not word.sign)


def _without_overlaps(found: Sequence[Word]) -> Iterator[Word]:
    """Words none of which begins in what the form of an earlier one holds."""
    reached = 0
    for word in found:
        if word.start >= reached:
            yield word
            reached = word.reach
