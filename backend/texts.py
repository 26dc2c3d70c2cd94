"""Text as people send it, normalised once where it comes in: by every form, query string and JSON body.

A browser sends each line break of a form as two characters, and a text that was copied from a file may begin with a
byte order mark; a program may send half of a surrogate pair, which no UTF-8 text holds. Read as they are, the same text
would be other tokens by one way than by another. Nothing else is changed: no-break spaces, joiners, combining marks and
the spelling of accents are what the model is asked about.
"""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, field_validator

BYTE_ORDER_MARK = "\ufeff"
_LINE_END = re.compile("\r\n?")


def normalise(text: str) -> str:
    """A text with plain line breaks, without a byte order mark at its start; half a surrogate pair becomes U+FFFD."""
    plain = _LINE_END.sub("\n", text.removeprefix(BYTE_ORDER_MARK))
    return plain if plain.isascii() else plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def normalise_all(value: object) -> object:
    """The same of a text or of every text in a list; other values are left to validation."""
    if isinstance(value, str):
        return normalise(value)
    return [normalise_all(item) for item in value] if isinstance(value, list) else value


class Typed(BaseModel):
    """The base of every form, query string and JSON body: each text in it is normalised before it is validated."""

    @field_validator("*", mode="before")
    @classmethod
    def _normalised(cls, value: object) -> object:
        return normalise_all(value)


TypedText = Annotated[str, BeforeValidator(normalise_all)]
"""The same for a parameter that stands alone."""
