"""What owners write about features, in SQL: by model, SAE, index and decoder direction, never by a row of a run."""

from datetime import UTC, datetime

from sqlalchemy import Engine, func, insert, select, update
from sqlalchemy.orm import Session

from backend.exceptions import RefusedError
from backend.html.characters import in_text, is_seen
from backend.published.catalogue import OpenSAE
from backend.published.corrections import direction_hash
from backend.storage import clean_text, require_room
from data.published.limits import MAX_LABEL, MAX_NOTE
from data.sql.database import take_turn
from data.sql.records import FeatureLabelRecord


class LabelStore:
    """The labels and notes of one database."""

    def __init__(self, engine: Engine, limit: int) -> None:
        """limit: the largest number of features with a label or a note."""
        self._engine, self._limit = engine, limit

    def write(self, sae: OpenSAE, index: int, label: str, note: str) -> None:
        """Keep a label and a note for a feature as it is published now, in place of what was kept; "" for none.

        Raises RefusedError when they cannot be kept as they are, StoreFullError.
        """
        label, note = clean_label(label), clean_text(note, MAX_NOTE, "A note").strip()
        column = sae.run.tables.take("features", [sae.row(index)], ["vector"])["vector"].combine_chunks()
        name = {"model": sae.model, "sae": sae.name, "index": index}
        name["direction"] = direction_hash(column.flatten().to_numpy())
        last = select(func.coalesce(func.max(FeatureLabelRecord.revision), 0) + 1).scalar_subquery()
        content = {"label": label, "note": note, "changed": datetime.now(UTC).replace(tzinfo=None), "revision": last}
        with Session(self._engine) as session, session.begin():
            # So that a higher revision is never seen before a lower one.
            take_turn(session.connection())
            found = session.scalar(select(FeatureLabelRecord.id).filter_by(**name))
            if found is not None:
                session.execute(
                    update(FeatureLabelRecord).where(FeatureLabelRecord.id == found).values(**content),
                    execution_options={"synchronize_session": False},
                )
                return
            require_room(session, FeatureLabelRecord, self._limit, "labels", "MONOSEMA_MAX_LABELS")
            session.execute(insert(FeatureLabelRecord).values(**name, **content))


def clean_label(label: str) -> str:
    """A label on one line. Raises RefusedError when it is too long or has controls, or nothing in it that shows."""
    text = " ".join(clean_text(label, 10 * MAX_LABEL, "A label").split())
    if len(text) > MAX_LABEL:
        raise RefusedError(f"A label has {MAX_LABEL} characters at most; this has {len(text)}: shorten it.")
    if text and (not is_seen(text) or any(in_text(character) != character for character in text)):
        raise RefusedError("A label may have no control characters, and something in it must show: remove them.")
    return text
