"""The state of a page in its address: declared once, for reading a query string and for writing links.

FastAPI reads a subclass of Address with `Annotated[Subclass, Query()]`; `href` writes the fields that are not at their
defaults.

Every address in the code and in templates begins with a slash at the app's own root. A server behind a path of a proxy
(`MONOSEMA_ROOT_PATH`) puts that path before it at the edge: pages in backend/html/templates.py, redirects in
backend/web/root_path.py, and JSON by `AppPath` or `rooted`.
"""

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlencode

from pydantic import BeforeValidator, ConfigDict, PlainSerializer

from backend.texts import Typed

ShortFloat = Annotated[float, PlainSerializer("{:g}".format)]
"""A number that links name in six digits at most, without trailing zeros."""
root_path: ContextVar[str] = ContextVar("root_path", default="")
"""The path under which the browser of the request that is answered has the app; "" for the top of its host."""


def rooted(address: str) -> str:
    """The address as a browser needs it, of one that begins at the app's own root."""
    return root_path.get() + address


AppPath = Annotated[str, PlainSerializer(rooted)]
"""An address in an answer of the API: it begins at the app's own root, and is sent as a browser needs it."""
EmptyIsNone = BeforeValidator(lambda value: None if value == "" else value)
"""For fields that a form sends empty when nothing is chosen."""


class Address(Typed):
    """The state of a page: a field per parameter, named as in the address or with that name as its alias."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, use_attribute_docstrings=True)

    path: ClassVar[str] = ""
    """Of the page; "" for links that lead to the page they stand on, or where the caller puts the path before."""
    always: ClassVar[Sequence[str]] = ()
    """Fields that are named even at their defaults."""
    safe: ClassVar[str] = ""
    """Characters that stay as they are, though a query string might quote them."""

    def changed(self, **changes: Any) -> Self:
        """A copy with some fields changed, without validation."""
        return self.model_copy(update=changes)

    def pairs(self) -> list[tuple[str, str]]:
        """Name and text of what is not at its default, in the order of the fields; of a list, a pair per item."""
        texts = self.model_dump()
        return [
            (field.alias or name, text)
            for name, field in type(self).model_fields.items()
            if name in self.always or getattr(self, name) != field.get_default()
            for text in _texts(texts[name])
        ]

    def query(self, *others: "Address", **changes: Any) -> str:
        """The query string with some fields changed, and `others` after it; "" when all are at their defaults."""
        return _joined([pair for one in (self.changed(**changes), *others) for pair in one.pairs()], self.safe)

    def href(self, *others: "Address", **changes: Any) -> str:
        """The link: `query` behind the path. "?" leads to the page it stands on as it is without a query."""
        return self.path + self.query(*others, **changes) or "?"


class PagedAddress(Address):
    """The state of a list with a field `page`: a change leads back to the first page, unless it is of the page."""

    def changed(self, **changes: Any) -> Self:
        return super().changed(**{"page": 1, **changes} if changes else {})


def query(**parameters: object) -> str:
    """The query string of the parameters that are neither None nor empty; "" for none."""
    return _joined([(name, str(value)) for name, value in parameters.items() if value not in (None, "")])


def _joined(pairs: Iterable[tuple[str, str]], safe: str = "") -> str:
    text = urlencode(list(pairs), safe=safe)
    return f"?{text}" if text else ""


def _texts(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    return ["" if value is None else str(int(value)) if isinstance(value, bool) else str(value)]
