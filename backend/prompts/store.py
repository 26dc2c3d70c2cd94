"""Prompts too long for an address: kept in SQL under a hash of their content, so that they can still be shared."""

from datetime import UTC, datetime
from urllib.parse import quote

from sqlalchemy import Engine

from backend.storage import ContentStore, content_id
from backend.texts import normalise
from data.sql.records import PromptRecord

MAX_ADDRESS_CHARACTERS = 2_000
"""Characters of an address that a text may take: about 1,500 of English. Beyond, it is stored."""
PROMPT_ID_LENGTH = 24
"""Hexadecimal digits of a SHA-256, 96 bits."""


class StoredPrompts:
    """The table of prompts. A prompt never changes and is never deleted: its address stays good."""

    def __init__(self, engine: Engine, limit: int) -> None:
        """limit: the largest number of prompts that are kept."""
        self._store = ContentStore(
            engine, PromptRecord, PROMPT_ID_LENGTH, limit, "long prompts", "MONOSEMA_MAX_STORED_PROMPTS"
        )

    def save(self, text: str) -> str:
        """Store a text and return its id; the same text always has the same. Raises StoreFullError."""
        content = normalise(text).encode()
        name = content_id(content, PROMPT_ID_LENGTH)
        now = datetime.now(UTC).replace(tzinfo=None)
        self._store.add(name, lambda: PromptRecord(id=name, text=content, created=now))
        return name

    def load(self, name: str) -> str | None:
        """The text with this id, or None."""
        record = self._store.get(name)
        return None if record is None else record.text.decode()


def is_long(*texts: str) -> bool:
    """Whether some texts together are too long for an address."""
    return sum(len(quote(normalise(text), safe="")) for text in texts) > MAX_ADDRESS_CHARACTERS
