"""Lists of concepts that people upload, in SQL."""

from datetime import UTC, datetime

from sqlalchemy import Engine

from backend.exceptions import NotFoundError, RefusedError
from backend.storage import ContentStore, clean_text, content_id
from backend.texts import normalise
from data.concepts.lists import ConceptList, parse_concepts
from data.errors import ConfigError
from data.sql.records import ConceptListRecord

LIST_ID_LENGTH = 24
"""Hexadecimal digits of a SHA-256, 96 bits."""
MAX_OWN_CONCEPTS = 200
"""Of an uploaded list: what the model reads in a few seconds."""
MAX_LIST_CHARACTERS = 20_000
NO_LIST = "There is no list of concepts at this address."


class ConceptLists:
    """The uploaded lists. One never changes and is never deleted: its address stays good."""

    def __init__(self, engine: Engine, limit: int) -> None:
        """limit: the largest number of lists that are kept."""
        self._store = ContentStore(
            engine, ConceptListRecord, LIST_ID_LENGTH, limit, "lists of concepts", "MONOSEMA_MAX_CONCEPT_LISTS"
        )

    def save(self, text: str) -> str:
        """Keep a list and return its id; the same text always has the same. Raises RefusedError, StoreFullError."""
        text = clean_text(text, MAX_LIST_CHARACTERS, "A list of concepts").strip()
        parse_own(text)
        name = content_id(text.encode(), LIST_ID_LENGTH)
        self._store.add(name, lambda: ConceptListRecord(id=name, text=text, created=_now()))
        return name

    def load(self, name: str) -> ConceptList:
        """The list with this id. Raises NotFoundError."""
        record = self._store.get(name)
        if record is None:
            raise NotFoundError(NO_LIST)
        return parse_own(record.text)


def parse_own(text: str) -> ConceptList:
    """An uploaded list. Raises RefusedError that says what to do."""
    try:
        found = parse_concepts(normalise(text))
    except ConfigError as error:
        raise RefusedError(str(error)) from None
    if len(found.concepts) > MAX_OWN_CONCEPTS:
        raise RefusedError(
            f"The list has {len(found.concepts):,} concepts; {MAX_OWN_CONCEPTS} at most are read at once: shorten it."
        )
    return found


def decode_file(data: bytes) -> str:
    """The text of an uploaded file. Raises RefusedError when it is none, or too long."""
    if len(data) > 4 * MAX_LIST_CHARACTERS:
        raise RefusedError(f"The file has {len(data):,} bytes: a list has {MAX_LIST_CHARACTERS:,} characters at most.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RefusedError("The file is not text in UTF-8: save it as plain text, one concept a line.") from None


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
