"""Undo the spacing of WikiText, whose words and signs stand apart: `a well @-@ known work ( 1 @.@ 5 m ) , it 's said`.

Each sign joins the word on its left, on its right, both or neither. Most signs always do the same; some look at their
neighbours; straight quotes open and close in turn.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

_HEADING = re.compile(r" ((?:= )+)(.+?) \1\s*")
_JOINED = re.compile(r" @([-,.])@ ")
_SIGN = re.compile(r" [^\w ][^ ]*")
"""A word that begins with a sign, and the space before it."""
_APOSTROPHE = re.compile(r" '(?![^ ])")
"""One that stands alone."""
_ENDINGS = {"s", "t", "m", "d", "re", "ve", "ll"}
_CURRENCY_PREFIXES = {"US", "A", "C", "NZ", "HK", "S", "R"}

_NEITHER, _LEFT, _RIGHT, _BOTH = (False, False), (True, False), (False, True), (True, True)
_ALWAYS = {
    **dict.fromkeys([*",.;!?%)]}”′″", "'s"], _LEFT),
    **dict.fromkeys("([{“‘£€¥₹₱₩₤", _RIGHT),
    **dict.fromkeys("—‑⁄", _BOTH),
}


class Article(NamedTuple):
    """One article of Wikipedia."""

    title: str
    text: str
    """Title, section headings and paragraphs, with a blank line between."""


def articles(lines: Iterable[str]) -> Iterator[Article]:
    """The articles of a raw WikiText file, their spacing undone. Lines before the first title are passed over."""
    title, parts = "", list[str]()
    for line, level in _with_levels(lines):
        if level == 1:
            if title:
                yield Article(title, "\n\n".join(parts))
            title, parts = line, []
        if line:
            parts.append(line)
    if title:
        yield Article(title, "\n\n".join(parts))


def _with_levels(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Each line, its spacing undone, with its level as a heading: 1 for the title of an article, 0 for text.

    A title stands between blank lines. Lists of abbreviations (` = Position ; GP = `) hold lines that look the same.
    """
    before, line = "", None
    for after in chain(lines, [""]):
        if line is not None:
            yield _with_level(before, line, after)
            before = line
        line = after


def _with_level(before: str, line: str, after: str) -> tuple[str, int]:
    heading = _HEADING.fullmatch(line)
    if heading is None:
        return undo_spacing(line), 0
    level = len(heading[1]) // 2
    if level == 1 and (before.strip() or after.strip()):
        return undo_spacing(line), 0
    return undo_spacing(heading[2]), level


def undo_spacing(line: str) -> str:
    """One line as it was before it was cut into words and signs."""
    spaced = " " + " ".join(_JOINED.sub(r"\1", line.replace("\ufeff", "")).split())
    parts, kept = [], 1
    for space in _joined(spaced):
        if space >= kept:
            parts.append(spaced[kept:space])
            kept = space + 1
    return "".join(parts) + spaced[kept:]


def _joined(spaced: str) -> Iterator[int]:
    """Places of the spaces at which words are joined, in order; one may come twice.

    Words without a sign, which are most, are passed over by one regular expression.
    """
    quoted = apostrophe_open = False
    for found in _SIGN.finditer(spaced):
        start, stop = found.span()
        word = spaced[start + 1 : stop]
        if word == '"':
            left, right = _LEFT if quoted else _RIGHT
            quoted = not quoted
        elif word == "'":
            is_more = _APOSTROPHE.search(spaced, stop) is not None
            left, right = _apostrophe(*_beside(spaced, start, stop), apostrophe_open, more=is_more)
            apostrophe_open = (left, right) == _RIGHT
        else:
            left, right = _ALWAYS.get(word) or _sign(word, *_beside(spaced, start, stop))
        if left:
            yield start
        if right:
            yield stop


def _beside(spaced: str, start: int, stop: int) -> tuple[str, str]:
    """The words before and after the one between these spaces; "" where there is none."""
    before = spaced[spaced.rfind(" ", 0, start) + 1 : start]
    return before, spaced[stop + 1 :].split(" ", 1)[0]


def _apostrophe(before: str, after: str, is_open: bool, *, more: bool) -> tuple[bool, bool]:
    """An apostrophe that stands alone closes a quotation, ends a plural (`the teams ' coach`), or opens a quotation."""
    if after in _ENDINGS:
        return _BOTH
    ends_a_word = before[-1:].isalnum() and (before.endswith("s") or not more)
    return _LEFT if is_open or ends_a_word else _RIGHT


def _sign(word: str, before: str, after: str) -> tuple[bool, bool]:
    """A sign that looks at its neighbours, or a plain word."""
    between_numbers = before[-1:].isdigit() and after[:1].isdigit()
    match word:
        case ":":
            return _BOTH if between_numbers else _LEFT
        case "–" | "×":
            return _BOTH if between_numbers else _NEITHER
        case "/":  # in verse it parts lines
            return _NEITHER if before[-1:].islower() and after[:1].isupper() else _BOTH
        case "&":
            return _BOTH if _is_initial(before) and _is_initial(after) else _NEITHER
        case "$":
            return before in _CURRENCY_PREFIXES, True
        case "#" | "−":
            return False, after[:1].isdigit()
        case "°":
            return before[-1:].isdigit(), after in {"C", "F"} or after[:1].isdigit()
        case "’":
            return True, after in _ENDINGS
    return word.startswith("'") and before[-1:].isalnum(), False


def _is_initial(word: str) -> bool:
    return len(word) == 1 and word.isupper()
