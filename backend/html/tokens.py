r"""Tokens as pages show them.

A token stands for bytes, and a character may be split over several tokens: it is shown once, at the token that
completes it, and the earlier parts carry a mark. What would not be seen, or would turn the text around it, is shown as
characters.py says; bytes that are no UTF-8 as \xNN.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, cast
from unicodedata import bidirectional

from backend.html.characters import NEWLINE, PART, SPACE, TAB, in_text, is_seen, is_unseen, text_alone

MAYBE_RTL = re.compile("[\u200f\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]")
"""The blocks that hold every letter that is read from right to left."""
LEVELS = 12
"""Steps of highlighting: classes a0 to a11."""


class TokenText(NamedTuple):
    """One token as shown."""

    text: str
    mark: str = ""
    """The kind of placeholder that the text is: newline, space, part, bytes, or unseen where it is the character
    itself and shows nothing; "" for plain text."""


def level(value: float, scale: float) -> int:
    """The step of the highlight: 0 to LEVELS - 1, -1 for a value of 0."""
    if value <= 0 or scale <= 0:
        return -1
    return min(LEVELS - 1, int(LEVELS * value / scale))


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token of an example or a prompt, with its highlight."""

    text: str
    mark: str
    """See TokenText."""
    value: float
    """Activation; 0 where the feature is not active."""
    level: int
    """Step of the highlight, 0 to LEVELS - 1; -1 for none."""
    centre: bool = False
    """Whether it is the token that made the example."""
    whose: str = ""
    """Of a token of a conversation that does not count: template, system, developer, user, assistant or tool."""


def highlight(tokens: Sequence[bytes], values: Sequence[float], scale: float, centre: int = -1) -> list[TokenView]:
    """Tokens with their activations on a scale from 0 to `scale`; `centre` is the number of the token that counts."""
    assert len(values) == len(tokens)
    shown = token_texts(tokens)
    views = list(map(_inactive, shown))
    for i in [i for i, value in enumerate(values) if value > 0 or i == centre]:
        views[i] = TokenView(*shown[i], values[i], level(values[i], scale), i == centre)
    return views


def with_roles(tokens: Sequence[TokenView], whose: Sequence[str]) -> list[TokenView]:
    """Tokens of a conversation, those that do not count with whose they are and no activation. whose: "" for others."""
    return [
        TokenView(token.text, token.mark, 0.0, -1, token.centre, role) if role else token
        for token, role in zip(tokens, whose, strict=True)
    ]


@lru_cache(1 << 17)
def _inactive(shown: TokenText) -> TokenView:
    if shown.text == SPACE:  # between a word and a number, often: a mark would only be in the way
        return TokenView(" ", "", 0.0, -1)
    if shown.mark == "part":  # and here within a word, whose letters would not join
        return TokenView("", "", 0.0, -1)
    return TokenView(*shown, 0.0, -1)


def token_texts(tokens: Sequence[bytes]) -> list[TokenText]:
    """The texts of consecutive tokens as they are shown, one for one."""
    shown = list(map(_whole_text, tokens))
    if all(shown):
        return cast(list[TokenText], shown)
    stop = 0
    for start in [i for i, text in enumerate(shown) if text is None]:
        if start >= stop:  # a run of tokens none of which is UTF-8 by itself
            stop = next((i for i in range(start, len(shown)) if shown[i] is not None), len(shown))
            shown[start:stop] = _split_texts(tokens[start:stop])
    return cast(list[TokenText], shown)


def token_text(token: bytes) -> str:
    """A token that stands alone, in a list: its leading space is marked too."""
    text = standing_alone(token_texts([token])[0])
    return SPACE + text[1:] if text.startswith(" ") else text


def standing_alone(token: TokenText) -> str:
    """A token of a text as it is shown apart from its neighbours: a mark where nothing would be seen."""
    return token.text if token.mark in ("part", "bytes") or not token.text else text_alone(token.text)


def visible_text(text: str) -> str:
    """A label or a title: what would turn the text around it is marked, and so is all of a text that shows nothing."""
    if text.isprintable():
        return text
    return "".join(map(in_text, text)) if is_seen(text) else text_alone(text)


def written_text(text: str) -> str:
    """A token of running text: line breaks and unseen characters stay, what would turn the text is marked.

    A token that completes no character has no text of its own: the one that does shows it.
    """
    return "\n".join("".join(map(in_text, line)) for line in text.split("\n"))


def text_direction(text: str) -> str:
    """rtl when most of its letters are read that way, else ltr. An excerpt may well begin with a foreign word."""
    if not MAYBE_RTL.search(text):
        return "ltr"
    sides = [bidirectional(character) for character in text]
    return "rtl" if sides.count("R") + sides.count("AL") > sides.count("L") else "ltr"


@lru_cache(1 << 17)
def _whole_text(token: bytes) -> TokenText | None:
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return None
    if not text or is_seen(text):
        return TokenText("".join(map(in_text, text.replace("  ", SPACE + " "))))
    shown = "".join(SPACE if character == " " else in_text(character) for character in text)
    return TokenText(shown, _mark_of(shown))


def _mark_of(shown: str) -> str:
    """The mark of a token of which nothing would be seen but for marks."""
    if NEWLINE in shown:
        return "newline"
    return "space" if SPACE in shown or TAB in shown else "unseen" if all(map(is_unseen, shown)) else ""


def _split_texts(tokens: Sequence[bytes]) -> list[TokenText]:
    owners = [number for number, token in enumerate(tokens) for _ in token]
    texts, marks = [""] * len(tokens), [""] * len(tokens)
    for start, stop, text in _characters(b"".join(tokens)):
        last = owners[stop - 1]
        texts[last] += text
        marks[last] = "bytes" if text.startswith("\\x") and not marks[last] else ""
        for part in dict.fromkeys(owners[start : stop - 1]):
            if part != last:
                marks[part] = "" if texts[part] else "part"
                texts[part] += PART
    return [_split_text(text, mark) for text, mark in zip(texts, marks, strict=True)]


def _split_text(text: str, mark: str) -> TokenText:
    """A token that holds parts of characters; one that completes a character which is not seen is marked as such."""
    return TokenText(text, mark or ("unseen" if text and all(map(is_unseen, text)) else ""))


def _characters(data: bytes) -> Iterator[tuple[int, int, str]]:
    r"""Start, end and visible text of each character, or of each byte that is part of none."""
    place = 0
    while place < len(data):
        for length in (1, 2, 3, 4):
            try:
                yield place, place + length, in_text(data[place : place + length].decode())
            except UnicodeDecodeError:
                continue
            break
        else:
            length = 1
            yield place, place + 1, f"\\x{data[place]:02x}"
        place += length
