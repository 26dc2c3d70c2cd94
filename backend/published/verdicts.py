"""What owners of this server say of whether a concept is represented, in SQL. What was measured stays beside it."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.orm import Session

from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.corrections import direction_hash
from backend.storage import clean_text, require_room
from data.sql.database import take_turn
from data.sql.records import ConceptVerdictRecord

MAX_VERDICT_NOTE = 500


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
        content = {"represented": represented, "note": note, "changed": datetime.now(UTC).replace(tzinfo=None)}
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
