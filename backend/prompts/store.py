"""Prompts too long for an address: kept in SQL under a hash of their content, so that they can be shared still."""

import hashlib
import re
from datetime import UTC, datetime
from urllib.parse import quote

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.engine.requests import clean
from backend.storage import require_room
from data.sql.records import PromptRecord

LONG = 2_000
"""Characters of an address that a text may take: about 1,500 of English. Beyond, it is stored."""
ID_LENGTH = 24
"""Hexadecimal digits of a SHA-256, 96 bits."""
_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


class StoredPrompts:
    """The table of prompts. A prompt never changes and is never deleted: its address stays good."""

    def __init__(self, engine: Engine, most: int) -> None:
        """most: prompts that are kept at all."""
        self._engine, self._most = engine, most

    def save(self, text: str) -> str:
        """Store a text and return its id; the same text always has the same. Raises StoreFullError."""
        content = clean(text).encode()
        name = hashlib.sha256(content).hexdigest()[:ID_LENGTH]
        try:
            with Session(self._engine) as session, session.begin():
                if session.get(PromptRecord, name) is None:
                    require_room(session, PromptRecord, self._most, "long prompts", "MONOSEMA_MAX_STORED_PROMPTS")
                    session.add(PromptRecord(id=name, text=content, created=datetime.now(UTC).replace(tzinfo=None)))
        except IntegrityError:
            pass  # somebody stored the same text at the same moment
        return name

    def load(self, name: str) -> str | None:
        """The text with this id, or None. What no id can be is not looked up: not every database takes every text."""
        if not _ID.fullmatch(name):
            return None
        with Session(self._engine) as session:
            record = session.get(PromptRecord, name)
            return None if record is None else record.text.decode()


def is_long(*texts: str) -> bool:
    """Whether some texts together are too long for an address."""
    return sum(len(quote(clean(text), safe="")) for text in texts) > LONG


def unix_lines(text: str) -> str:
    """What somebody typed into a form: browsers send every line break as two characters."""
    return text.replace("\r\n", "\n")
