"""Content-addressed stores in SQL for what visitors save, with a limit on each; and texts as they can be kept.

Every store has a limit, so that it cannot fill the disk.
"""

import hashlib
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.exceptions import RefusedError, StoreFullError
from backend.texts import normalise
from data.sql.database import take_turn
from data.sql.records import Base

R = TypeVar("R", bound=Base)

HEXADECIMAL = frozenset("0123456789abcdef")


def content_id(content: bytes, length: int) -> str:
    """The id of some content, `length` hexadecimal digits of its SHA-256: the same content always has the same."""
    return hashlib.sha256(content).hexdigest()[:length]


class ContentStore(Generic[R]):
    """A table whose rows are named by what they hold: they never change, and their addresses stay good."""

    def __init__(self, engine: Engine, table: type[R], id_length: int, limit: int, kind: str, setting: str) -> None:
        """limit: of rows. kind: a name of the rows, in the plural. setting: the variable that sets `limit`."""
        self._engine, self._table, self._id_length = engine, table, id_length
        self._limit, self._kind, self._setting = limit, kind, setting

    def get(self, name: str) -> R | None:
        """The row with this id, or None. Invalid ids are not looked up: not every database accepts every text."""
        if len(name) != self._id_length or not HEXADECIMAL.issuperset(name):
            return None
        with Session(self._engine) as session:
            return session.get(self._table, name)

    def add(self, name: str, make: Callable[[], R]) -> None:
        """Keep a row unless one of its id stands there. Raises StoreFullError."""
        try:
            with Session(self._engine) as session, session.begin():
                if session.get(self._table, name) is None:
                    require_room(session, self._table, self._limit, self._kind, self._setting)
                    session.add(make())
        except IntegrityError:
            pass  # the same was stored at the same moment


def require_room(session: Session, table: type[Base], limit: int, kind: str, setting: str) -> None:
    """Raise StoreFullError unless a table has fewer than `limit` rows; no other server adds one until the end.

    kind: a name of the rows, in the plural. setting: the variable that sets `limit`.
    """
    take_turn(session.connection())
    if (session.scalar(select(func.count()).select_from(table)) or 0) >= limit:
        raise StoreFullError(
            f"This server keeps at most {limit:,} {kind}, and the limit is reached: its operator can raise {setting}."
        )


def clean_text(text: str, limit: int, what: str) -> str:
    """The text, normalised. Raises RefusedError when it is too long or cannot be stored by every database."""
    text = normalise(text)
    if len(text) > limit:
        raise RefusedError(f"{what} has {limit:,} characters at most; this has {len(text):,}.")
    if "\0" in text:
        raise RefusedError(f"{what} contains a character that is not text (NUL): remove it.")
    return text
