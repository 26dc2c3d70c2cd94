"""The words at a token of a text: the one that holds it, and those beside it."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from data.published.terms import ASCII_WORD, HOLDING, MAX_WORD, SHORT_PART, Word, compounds, words

_MAY_HOLD = HOLDING | {"_"}
"""Of ASCII, the signs that may be of a compound."""


class Peak(NamedTuple):
    """The word that holds a token, and those on either side, as the search compares them; "" where there is none."""

    word: str
    before: str
    after: str


NOTHING = Peak("", "", "")


def find_peak(text: str, start: int, stop: int) -> Peak:
    """The word at `text[start:stop]`; of several, the last, but the first of a script without spaces.

    What says little by itself is named by its compound: the last token of C++ or x86-64 by the whole.
    """
    if text.isascii() and (plain := _find_plain(text, start, stop)) is not None:
        return plain
    low, high = _spaces_around(text, start, stop)
    near = _find_any(text[low:high], start - low, stop - low)
    is_whole = (near.before or not low) and (near.after or high == len(text))
    return near if is_whole else _find_any(text, start, stop)


def _find_plain(text: str, start: int, stop: int) -> Peak | None:
    """The same of ASCII, in a fraction of the time; None where the word may be named by a compound."""
    spans = [match.span() for match in ASCII_WORD.finditer(text)]
    at = bisect_left(spans, (stop,)) - 1
    if at < 0 or spans[at][1] <= start:
        return NOTHING
    low, high = spans[at]
    if high - low < SHORT_PART and _may_be_held(text, low, high):
        return None
    beside = spans[at - 1] if at else (0, 0), spans[at + 1] if at + 1 < len(spans) else (0, 0)
    word, before, after = (text[low:high].lower()[:MAX_WORD] for low, high in (spans[at], *beside))
    return Peak(word, before, after)


def _may_be_held(text: str, low: int, high: int) -> bool:
    """Whether a word of ASCII may be part of a compound, by what touches it."""
    left, right = text[low - 1 : low], text[high : high + 1]
    if text[low].isalnum():
        return left in _MAY_HOLD or right in _MAY_HOLD
    return text[low] in _MAY_HOLD and not (left.isspace() and right.isspace())


def _spaces_around(text: str, start: int, stop: int) -> tuple[int, int]:
    """Where to cut a text so that no word or compound is cut, and one stands on either side if there are any near."""
    low = text.rfind(" ", 0, max(0, text.rfind(" ", 0, start + 1)))
    high = text.find(" ", stop)
    high = text.find(" ", high + 1) if high >= 0 else high
    return low + 1, high if high >= 0 else len(text)


def _find_any(text: str, start: int, stop: int) -> Peak:
    found = list(words(text))
    inside = [number for number, word in enumerate(found) if word.start < stop and word.stop > start]
    if not inside:
        return NOTHING
    first, last = inside[0], inside[-1]
    at = first if found[first].reach > found[first].stop else last
    whole = _compound_at(text, found, at)
    forms = ["", *(word.form for word in found), ""]
    return Peak(whole or forms[at + 1], forms[at], forms[last + 2])


def _compound_at(text: str, found: Sequence[Word], at: int) -> str:
    """The compound that holds a word of a text; "" where the word says enough by itself."""
    word = found[at]
    if not word.sign and len(word.form) >= SHORT_PART:
        return ""
    return next((one.form for one in compounds(text, found) if one.start <= word.start < one.stop), "")
