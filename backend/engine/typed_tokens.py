"""Tokens by what people type for them: the spelling on the page, with or without the space before a word.

A tokenizer may put a space of its own before a text, so that " Paris" becomes two tokens though the vocabulary has it.
So tokens are looked up by the bytes that they stand for, and the tokenizer is asked only which of equals it would take.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

MOST_CHOICES = 8
_AS_SHOWN = str.maketrans({"␣": " ", "↵": "\n", "⇥": "\t"})


class TypedTokens:
    """The tokens of a vocabulary by their spelling."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """pieces: the bytes of each token by id; b"" for an id without a token."""
        self._by_bytes: dict[bytes, list[int]] = defaultdict(list)
        self._by_form: dict[str, list[int]] = defaultdict(list)
        for token, piece in enumerate(pieces):
            if piece:
                self._by_bytes[piece].append(token)
                self._by_form[_form(piece.decode(errors="ignore"))].append(token)

    def written(self, text: str, preferred: Iterable[int] = ()) -> list[int]:
        """The tokens that a text may stand for, the best first: spelled exactly so, as pages show it, then the same
        with a space before it or without. preferred: those that come first among equals."""
        plain = text.translate(_AS_SHOWN)
        spellings = dict.fromkeys([text, plain, f" {plain}", plain.lstrip(" ")] if text else ())
        first = set(preferred)
        return [
            token
            for spelling in spellings
            for token in sorted(
                self._by_bytes.get(spelling.encode("utf-8", "replace"), ()), key=lambda one: one not in first
            )
        ]

    def alike(self, text: str) -> list[int]:
        """Tokens that differ from a text in spaces and capitals alone, at most MOST_CHOICES."""
        form = _form(text.translate(_AS_SHOWN))
        return self._by_form.get(form, [])[:MOST_CHOICES] if form else []


def _form(text: str) -> str:
    return text.strip(" ").casefold()
