"""Lists of concepts that people upload, and owners' verdicts on single concepts, in SQL."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.orm import Session

from backend.exceptions import NotFoundError, RefusedError
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.corrections import direction_hash
from backend.storage import ContentStore, clean_text, content_id, require_room
from backend.texts import normalise
from data.concepts.lists import ConceptList, parse_concepts
from data.errors import ConfigError
from data.sql.database import take_turn
from data.sql.records import ConceptListRecord, ConceptVerdictRecord

LIST_ID_LENGTH = 24
"""Hexadecimal digits of a SHA-256, 96 bits."""
MAX_OWN_CONCEPTS = 200
"""Of an uploaded list: what the model reads in a few seconds."""
MAX_LIST_CHARACTERS = 20_000
MAX_VERDICT_NOTE = 500
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


@dataclass(frozen=True, slots=True)
class Overruled:
    """What an owner says of a concept."""

    represented: bool
    note: str
    changed: datetime
    """UTC."""


class VerdictStore:
    """The owners' verdicts of one database. What was measured stays beside them."""

    def __init__(self, engine: Engine, limit: int) -> None:
        """limit: the largest number of verdicts that are kept."""
        self._engine, self._limit = engine, limit

    def of(self, sae: OpenSAE) -> dict[tuple[str, str], Overruled]:
        """All verdicts on an SAE as it is published now, by list and concept."""
        with Session(self._engine) as session:
            records = session.scalars(select(ConceptVerdictRecord).filter_by(**_weights(sae))).all()
            return {(one.list, one.concept): Overruled(one.represented, one.note, one.changed) for one in records}

    def write(self, sae: OpenSAE, list_: str, concept: str, represented: bool | None, note: str) -> None:
        """Keep a verdict in place of what was kept; None takes it back. Raises RefusedError, StoreFullError."""
        name = {**_weights(sae), "list": list_, "concept": concept}
        note = clean_text(note, MAX_VERDICT_NOTE, "A note").strip()
        table = ConceptVerdictRecord
        content = {"represented": represented, "note": note, "changed": _now()}
        with Session(self._engine) as session, session.begin():
            take_turn(session.connection())
            found = session.scalar(select(table.id).filter_by(**name))
            if represented is None:
                session.execute(delete(table).where(table.id == found))
            elif found is not None:
                session.execute(update(table).where(table.id == found).values(**content))
            else:
                require_room(session, table, self._limit, "verdicts", "MONOSEMA_MAX_VERDICTS")
                session.execute(insert(table).values(**name, **content))


def _weights(sae: OpenSAE) -> dict[str, str]:
    return {"model": sae.model, "sae": sae.name, "weights": sae.run.once(_weight_names)[sae.name]}


def _weight_names(run: OpenRun) -> dict[str, str]:
    """A name of the weights of every SAE: that of its first feature's direction."""
    table = run.tables.take("features", [sae.row(0) for sae in run.saes], ["vector"])
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(run.saes), -1)
    return {sae.name: direction_hash(vector_D) for sae, vector_D in zip(run.saes, vectors, strict=True)}


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
