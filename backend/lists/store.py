"""Lists of features in SQL: anyone can create one, its address lets people read it, its secret lets them edit it.

An entry names its feature by model, SAE and index, never by a row of a run, so lists survive new publications.
Every edit is one transaction that begins by writing the list's own row: edits of one list wait for each other.
"""

import hmac
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Engine, and_, delete, func, insert, select, update
from sqlalchemy.orm import Session

from backend.exceptions import ForbiddenError, NotFoundError, RefusedError
from backend.lists.entries import MAX_ENTRIES, MAX_NOTES_TOTAL, Draft, ListEntry, each_once
from backend.storage import require_room
from data.sql.records import ListEntryRecord, ListRecord

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
LIST_ID_LENGTH = 16
"""Letters of an address: 79 bits, so that nobody finds a list by guessing."""
SECRET_BYTES = 24
ROWS_PER_STATEMENT = 1000

NO_LIST = "There is no list at this address. It may have been deleted."
NOT_YOURS = "This link does not allow editing the list: open the secret link that you got when you made it."


@dataclass(frozen=True)
class SavedList:
    """A list without its entries."""

    id: str
    name: str
    note: str
    created: datetime
    """UTC, as `changed`."""
    changed: datetime
    num_entries: int

    @property
    def href(self) -> str:
        """Address of its page."""
        return f"/lists/{self.id}"


class ListStore:
    """The lists of one database."""

    def __init__(self, engine: Engine, limit: int) -> None:
        """limit: the largest number of lists that are kept."""
        self._engine, self._limit = engine, limit

    def create(self, draft: Draft) -> tuple[str, str]:
        """Keep a new list; returns its id and the secret for editing, which is not stored.

        Raises StoreFullError.
        """
        list_id = "".join(secrets.choice(ALPHABET) for _ in range(LIST_ID_LENGTH))
        secret = secrets.token_urlsafe(SECRET_BYTES)
        moment = _now()
        with Session(self._engine) as session, session.begin():
            require_room(session, ListRecord, self._limit, "lists", "MONOSEMA_MAX_LISTS")
            values = {"name": draft.name, "note": draft.note, "created": moment, "changed": moment}
            session.execute(insert(ListRecord).values(id=list_id, secret_hash=_hash(secret), **values))
            _insert(session, list_id, draft.entries, 0)
        return list_id, secret

    def find(self, list_id: str) -> SavedList:
        """A list by its id. Raises NotFoundError."""
        _check_id(list_id)
        entries = select(func.count()).where(ListEntryRecord.list_id == ListRecord.id).scalar_subquery()
        columns = (ListRecord.id, ListRecord.name, ListRecord.note, ListRecord.created, ListRecord.changed, entries)
        with Session(self._engine) as session:
            found = session.execute(select(*columns).where(ListRecord.id == list_id)).one_or_none()
        if found is None:
            raise NotFoundError(NO_LIST)
        return SavedList(*found)

    def entries(self, list_id: str, first: int = 0, limit: int = MAX_ENTRIES) -> list[ListEntry]:
        """Entries in their order."""
        columns = (ListEntryRecord.model, ListEntryRecord.sae, ListEntryRecord.index, ListEntryRecord.note)
        ordered = select(*columns).where(ListEntryRecord.list_id == list_id).order_by(*_ORDER)
        with Session(self._engine) as session:
            return [ListEntry(*row) for row in session.execute(ordered.offset(first).limit(limit))]

    def check(self, list_id: str, secret: str) -> None:
        """Raise NotFoundError when there is no such list, ForbiddenError when the secret is not its own."""
        _check_id(list_id)
        with Session(self._engine) as session:
            kept = session.scalar(select(ListRecord.secret_hash).where(ListRecord.id == list_id))
        if kept is None:
            raise NotFoundError(NO_LIST)
        if not hmac.compare_digest(kept, _hash(secret)):
            raise ForbiddenError(NOT_YOURS)

    @contextmanager
    def edit(self, list_id: str, secret: str) -> Iterator["Edit"]:
        """Change a list in one transaction. Raises as `check` does, and whatever the block raises, undoing all."""
        self.check(list_id, secret)
        with Session(self._engine) as session, session.begin():
            # First of all a write: it waits for other edits, and what is read after it stays true.
            written = session.execute(update(ListRecord).where(ListRecord.id == list_id).values(changed=_now()))
            if cast(CursorResult[Any], written).rowcount == 0:  # deleted since
                raise NotFoundError(NO_LIST)
            edit = Edit(session, list_id)
            yield edit
            edit.check_limits()

    def delete(self, list_id: str, secret: str) -> None:
        """Remove a list with its entries. Raises as `check` does."""
        with self.edit(list_id, secret) as edit:
            edit.clear()
            edit.drop()


class Edit:
    """Changes to one list, within a transaction."""

    def __init__(self, session: Session, list_id: str) -> None:
        self._session, self._id = session, list_id

    def describe(self, **values: str) -> None:
        """Set `name`, `note` or both."""
        if values:
            self._session.execute(update(ListRecord).where(ListRecord.id == self._id).values(**values))

    def clear(self) -> None:
        """Remove all entries."""
        self._session.execute(delete(ListEntryRecord).where(ListEntryRecord.list_id == self._id))

    def drop(self) -> None:
        """Remove the list itself, its entries being gone."""
        self._session.execute(delete(ListRecord).where(ListRecord.id == self._id))

    def add(self, entries: Sequence[ListEntry], place: int | None = None) -> int:
        """Add those whose feature is not there yet, at `place` or at the end. Returns how many these were."""
        there = [entry.feature for entry in self._entries()]
        known = set(there)
        new = [entry for entry in each_once(entries) if entry.feature not in known]
        _insert(self._session, self._id, new, self._end())
        if place is not None and place < len(there):
            self._order(there[:place] + [entry.feature for entry in new] + there[place:])
        return len(new)

    def replace(self, entries: Sequence[ListEntry]) -> None:
        """Replace all entries."""
        self.clear()
        _insert(self._session, self._id, entries, 0)

    def annotate(self, feature: str, note: str) -> None:
        """Set the note of an entry. Raises NotFoundError."""
        self._touched(update(ListEntryRecord).where(self._is(feature)).values(note=note), feature)

    def remove(self, feature: str) -> None:
        """Take an entry out. Raises NotFoundError."""
        self._touched(delete(ListEntryRecord).where(self._is(feature)), feature)

    def move(self, feature: str, place: int) -> int:
        """Give an entry another place, from 0; past the end is the end. Returns its place. Raises NotFoundError."""
        names = [entry.feature for entry in self._entries()]
        if feature not in names:
            raise NotFoundError(f"The list has no entry '{feature}'.")
        names.remove(feature)
        place = min(max(place, 0), len(names))
        self._order([*names[:place], feature, *names[place:]])
        return place

    def place(self, feature: str) -> int:
        """Place of an entry, from 0. Raises NotFoundError."""
        names = [entry.feature for entry in self._entries()]
        if feature not in names:
            raise NotFoundError(f"The list has no entry '{feature}'.")
        return names.index(feature)

    def count(self) -> int:
        """The number of entries."""
        counted = select(func.count()).where(ListEntryRecord.list_id == self._id)
        return self._session.scalar(counted) or 0

    def check_limits(self) -> None:
        """Raise RefusedError when the list has become too large."""
        counted = select(func.count(), func.coalesce(func.sum(func.length(ListEntryRecord.note)), 0))
        number, length = self._session.execute(counted.where(ListEntryRecord.list_id == self._id)).one()
        if number > MAX_ENTRIES:
            raise RefusedError(f"A list holds {MAX_ENTRIES:,} features at most; this would be {number:,}.")
        if length > MAX_NOTES_TOTAL:
            raise RefusedError(
                f"The notes of a list have {MAX_NOTES_TOTAL:,} characters at most; these would be {length:,}: "
                "shorten some."
            )

    def _end(self) -> int:
        """The first position behind all entries: not their number, for removing one leaves a gap."""
        last = select(func.max(ListEntryRecord.position)).where(ListEntryRecord.list_id == self._id)
        highest = self._session.scalar(last)
        return 0 if highest is None else highest + 1

    def _entries(self) -> list[ListEntry]:
        columns = (ListEntryRecord.model, ListEntryRecord.sae, ListEntryRecord.index)
        ordered = select(*columns).where(ListEntryRecord.list_id == self._id).order_by(*_ORDER)
        return [ListEntry(*row) for row in self._session.execute(ordered)]

    def _order(self, names: Sequence[str]) -> None:
        """Write the places of entries that are not where they stand in `names`."""
        columns = (ListEntryRecord.model, ListEntryRecord.sae, ListEntryRecord.index)
        stored = select(ListEntryRecord.id, ListEntryRecord.position, *columns)
        rows: Any = self._session.execute(stored.where(ListEntryRecord.list_id == self._id)).all()
        places = {name: place for place, name in enumerate(names)}
        wanted = ((number, old, places[ListEntry(*name).feature]) for number, old, *name in rows)
        changed = [{"id": number, "position": new} for number, old, new in wanted if new != old]
        if changed:
            self._session.execute(update(ListEntryRecord), changed)

    def _touched(self, statement: Any, feature: str) -> None:
        if cast(CursorResult[Any], self._session.execute(statement)).rowcount == 0:
            raise NotFoundError(f"The list has no entry '{feature}'.")

    def _is(self, feature: str) -> ColumnElement[bool]:
        entry = ListEntry.parse(feature)
        return and_(
            ListEntryRecord.list_id == self._id,
            ListEntryRecord.model == entry.model,
            ListEntryRecord.sae == entry.sae,
            ListEntryRecord.index == entry.index,
        )


_ORDER = (ListEntryRecord.position, ListEntryRecord.id)


def _check_id(list_id: str) -> None:
    """Refuse invalid ids before a database sees them: not every database accepts every text."""
    if len(list_id) != LIST_ID_LENGTH or not set(list_id) <= set(ALPHABET):
        raise NotFoundError(NO_LIST)


def _insert(session: Session, list_id: str, entries: Sequence[ListEntry], first: int) -> None:
    rows = [
        {"list_id": list_id, "position": place, "model": e.model, "sae": e.sae, "index": e.index, "note": e.note}
        for place, e in enumerate(entries, first)
    ]
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        session.execute(insert(ListEntryRecord), rows[start : start + ROWS_PER_STATEMENT])


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
