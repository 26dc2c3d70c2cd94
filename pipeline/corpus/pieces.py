"""Text that comes in blocks, cut into its documents and long documents into parts, in bounded memory."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

BREAKS = ("\n\n", "\n", " ")
"""After which a long document is cut, the best first: the last one in the second half of what a part may hold."""


class Piece(NamedTuple):
    """A document of a text, or a part of one."""

    document: int
    """From 0."""
    part: int
    """From 1; 0 for a document that is whole."""
    text: str


def cut(blocks: Iterable[str], longest: int, separator: str | None = None) -> Iterator[Piece]:
    """The documents between separators (or all of the text as one), those longer than `longest` characters in parts.

    They do not depend on how the text is cut into blocks. Memory: a block and a part.
    """
    text, document, part = "", 0, 0
    sign = separator or ""
    for block in blocks:
        text, start = text + block, 0
        while True:
            stop = text.find(sign, start, start + longest + len(sign)) if sign else -1
            if stop >= 0:
                yield Piece(document, part and part + 1, text[start:stop])
                start, document, part = stop + len(sign), document + 1, 0
            elif len(text) - start > longest + len(sign):
                stop, part = _break(text, start, start + longest), part + 1
                yield Piece(document, part, text[start:stop])
                start = stop
            else:
                break
        text = text[start:]
    if document == 0 or part or text.strip():  # nothing need follow the last separator
        yield Piece(document, part and part + 1, text)


def _break(text: str, start: int, stop: int) -> int:
    """Where to cut a document that goes on: behind a break, or at `stop` where there is none."""
    for sign in BREAKS:
        found = text.rfind(sign, (start + stop) // 2, stop)
        if found >= 0:
            return found + len(sign)
    return stop
