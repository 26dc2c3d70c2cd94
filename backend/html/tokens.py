r"""Tokens as pages show them.

A token stands for bytes, and a character may be split over several tokens: it is shown once, at the token that
completes it, and the earlier parts carry a mark. Whitespace that would not be seen, controls and characters that turn
or join the text around them are shown as marks; bytes that are no UTF-8 as \xNN.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, cast
from unicodedata import bidirectional

PART = "◌"
"""Stands for a token that holds an earlier part of a character."""
NEWLINE, TAB, SPACE = "↵", "⇥", "␣"
MAYBE_RTL = re.compile("[\u200f\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]")
"""The blocks that hold every letter that is read from right to left."""
LEVELS = 12
"""Steps of highlighting: classes a0 to a11."""


class TokenText(NamedTuple):
    """One token as shown."""

    text: str
    mark: str = ""
    """The kind of placeholder that the text is: newline, space, part, bytes; "" for plain text."""


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


def highlight(tokens: Sequence[bytes], values: Sequence[float], scale: float, centre: int = -1) -> list[TokenView]:
    """Tokens with their activations on a scale from 0 to `scale`; `centre` is the number of the token that counts."""
    assert len(values) == len(tokens)
    shown = token_texts(tokens)
    views = list(map(_inactive, shown))
    for i in [i for i, value in enumerate(values) if value > 0 or i == centre]:
        views[i] = TokenView(*shown[i], values[i], level(values[i], scale), i == centre)
    return views


@lru_cache(1 << 17)
def _inactive(shown: TokenText) -> TokenView:
    if shown.text == SPACE:  # between a word and a number, often: a mark would only be in the way
        return TokenView(" ", "", 0.0, -1)
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
    text = token_texts([token])[0].text
    return SPACE + text[1:] if text.startswith(" ") else text


def visible_text(text: str) -> str:
    """A label or a title: what would not be seen, or would turn the text around it, is marked."""
    return text if text.isprintable() else "".join(_visible(character) for character in text)


def written_text(text: str) -> str:
    """A token of running text: line breaks stay, what would not be seen or would turn the text around it is marked.

    A token that completes no character, and so has no text of its own, is shown as a part of one.
    """
    return "\n".join(visible_text(line) for line in text.split("\n")) or PART


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
    if text.strip() or not text:
        return TokenText(visible_text(text.replace("  ", SPACE + " ")))
    marks = "".join(SPACE if character == " " else _visible(character) for character in text)
    return TokenText(marks, "newline" if "\n" in text else "space")


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
    return [TokenText(text, mark) for text, mark in zip(texts, marks, strict=True)]


def _characters(data: bytes) -> Iterator[tuple[int, int, str]]:
    r"""Start, end and visible text of each character, or of each byte that is part of none."""
    place = 0
    while place < len(data):
        for length in (1, 2, 3, 4):
            try:
                yield place, place + length, _visible(data[place : place + length].decode())
            except UnicodeDecodeError:
                continue
            break
        else:
            length = 1
            yield place, place + 1, f"\\x{data[place]:02x}"
        place += length


def _visible(character: str) -> str:
    """A character as it is, or what stands for it when it would not be seen or would change its surroundings."""
    if character.isprintable():
        return character
    code = ord(character)
    if character in "\n\t":
        return NEWLINE if character == "\n" else TAB
    if code < 0x80:  # a byte that is no text by itself: never one of those that stand for part of a character
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
