"""The API for lists: created without an account, read by their id, changed with their secret."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, cast

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import Field

from backend.exceptions import RefusedError
from backend.html.address import AppPath
from backend.lists.entries import (
    MAX_ENTRIES,
    MAX_LIST_NOTE,
    MAX_NAME,
    MAX_NOTE,
    UNNAMED,
    ListEntry,
    make_draft,
)
from backend.lists.page import find_entry, look_up
from backend.lists.store import ListStore, SavedList
from backend.storage import clean_text
from backend.texts import Typed
from backend.web.dependencies import LibraryDep

router = APIRouter(prefix="/api/v1/lists", tags=["lists"])
bearer = HTTPBearer(auto_error=False, description="The secret of the list, as `Authorization: Bearer SECRET`.")


class EntryBody(Typed):
    """A feature and a note on it."""

    feature: str = Field(max_length=500, description="model/sae/index, or the address of its page")
    note: str = Field("", description=f"at most {MAX_NOTE:,} characters")


class AddBody(EntryBody):
    """A feature to add to a list."""

    place: int | None = Field(None, ge=0, description="from 0; the end by default")


class ListBody(Typed):
    """A list to create."""

    name: str = Field(UNNAMED, description=f"at most {MAX_NAME} characters")
    note: str = Field("", description=f"at most {MAX_LIST_NOTE:,} characters")
    entries: list[EntryBody] = Field(
        [], max_length=MAX_ENTRIES, description="in their order; features that are not published are kept too"
    )


class ListChange(Typed):
    """Changes to a list; fields that are left out stay as they are."""

    name: str | None = None
    note: str | None = None
    entries: list[EntryBody] | None = Field(None, max_length=MAX_ENTRIES, description="all entries, in their order")


class EntryChange(Typed):
    """Changes to an entry; fields that are left out stay as they are."""

    note: str | None = None
    place: int | None = Field(None, ge=0, description="from 0")


@dataclass(frozen=True)
class ListedFeature:
    """One entry of a list."""

    feature: str
    """model/sae/index"""
    note: str
    published: bool
    """Whether the feature is published now; if not, the rest is null."""
    label: str | None
    density: float | None
    max: float | None


@dataclass(frozen=True)
class ListAnswer:
    """A list."""

    id: str
    name: str
    note: str
    created: datetime
    """UTC, as `changed`."""
    changed: datetime
    href: AppPath
    """Address of its page."""
    entries: list[ListedFeature]


@dataclass(frozen=True)
class MadeList:
    """A list that was just created."""

    id: str
    secret: str
    """Required to edit the list. It is shown only once."""
    href: AppPath
    edit: AppPath
    """Secret address of the page that edits it."""


def get_secret(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> str:
    """The secret that a request brings. Raises HTTPException 401 when it brings none."""
    if given is None:
        challenge = {"www-authenticate": "Bearer"}
        raise HTTPException(401, "Editing needs the list's secret: send `Authorization: Bearer SECRET`.", challenge)
    return given.credentials


SecretDep = Annotated[str, Depends(get_secret)]
ListId = Annotated[str, Path(description="The list's id, as in its address.")]


def edit_address(list_id: str, secret: str) -> str:
    """The secret address of the page that edits a list."""
    return f"/lists/{list_id}/edit?key={secret}"


async def get_lists(request: Request) -> ListStore:
    """The store of lists."""
    return cast(ListStore, request.app.state.lists)


ListsDep = Annotated[ListStore, Depends(get_lists)]


@router.post("", status_code=201)
def make_list(body: ListBody, lists: ListsDep) -> MadeList:
    """Create a list. Anyone who knows its id can read it; it is not listed anywhere."""
    made, secret = lists.create(make_draft(body.name, body.note, _entries(body.entries)))
    return MadeList(made, secret, f"/lists/{made}", edit_address(made, secret))


@router.get("/{list_id}")
def get_list(list_id: ListId, lists: ListsDep, library: LibraryDep) -> ListAnswer:
    """A list with all its entries."""
    return _answer(lists, library, lists.find(list_id))


@router.put("/{list_id}")
def replace_list(
    list_id: ListId, body: ListBody, secret: SecretDep, lists: ListsDep, library: LibraryDep
) -> ListAnswer:
    """Replace a list."""
    draft = make_draft(body.name, body.note, _entries(body.entries))
    with lists.edit(list_id, secret) as edit:
        edit.describe(name=draft.name, note=draft.note)
        edit.replace(draft.entries)
    return get_list(list_id, lists, library)


@router.patch("/{list_id}")
def change_list(
    list_id: ListId, body: ListChange, secret: SecretDep, lists: ListsDep, library: LibraryDep
) -> ListAnswer:
    """Change name, note or entries of a list."""
    draft = make_draft(body.name or "", body.note or "", _entries(body.entries or []))
    with lists.edit(list_id, secret) as edit:
        if body.name is not None:
            edit.describe(name=draft.name)
        if body.note is not None:
            edit.describe(note=draft.note)
        if body.entries is not None:
            edit.replace(draft.entries)
    return get_list(list_id, lists, library)


@router.delete("/{list_id}", status_code=204)
def delete_list(list_id: ListId, secret: SecretDep, lists: ListsDep) -> None:
    """Delete a list for good."""
    lists.delete(list_id, secret)


@router.post("/{list_id}/entries", status_code=201)
def add_entry(list_id: ListId, body: AddBody, secret: SecretDep, lists: ListsDep, library: LibraryDep) -> ListedFeature:
    """Add a published feature. One that is in the list already stays as it is."""
    entry = ListEntry.parse(body.feature, body.note)
    if find_entry(library.catalogue(), entry) is None:
        raise RefusedError(f"There is no feature '{entry.feature}' here.")
    with lists.edit(list_id, secret) as edit:
        edit.add([entry], body.place)
    return _listed(library, [entry])[0]


@router.patch("/{list_id}/entries/{model}/{sae}/{index}", status_code=204)
def change_entry(
    list_id: ListId, model: str, sae: str, index: str, body: EntryChange, secret: SecretDep, lists: ListsDep
) -> None:
    """Change the note or the place of an entry."""
    feature = f"{model}/{sae}/{index}"
    note = None if body.note is None else clean_text(body.note, MAX_NOTE, "a note")
    with lists.edit(list_id, secret) as edit:
        if note is not None:
            edit.annotate(feature, note)
        if body.place is not None:
            edit.move(feature, body.place)


@router.delete("/{list_id}/entries/{model}/{sae}/{index}", status_code=204)
def remove_entry(list_id: ListId, model: str, sae: str, index: str, secret: SecretDep, lists: ListsDep) -> None:
    """Take a feature out of a list."""
    with lists.edit(list_id, secret) as edit:
        edit.remove(f"{model}/{sae}/{index}")


def _entries(bodies: list[EntryBody]) -> list[ListEntry]:
    return [ListEntry.parse(body.feature, body.note) for body in bodies]


def _answer(lists: ListStore, library: LibraryDep, saved: SavedList) -> ListAnswer:
    entries = _listed(library, lists.entries(saved.id))
    return ListAnswer(saved.id, saved.name, saved.note, saved.created, saved.changed, saved.href, entries)


def _listed(library: LibraryDep, entries: list[ListEntry]) -> list[ListedFeature]:
    found = zip(entries, look_up(library.catalogue(), entries), strict=True)
    return [
        ListedFeature(e.feature, e.note, True, f.label, f.density, f.max)
        if f
        else ListedFeature(e.feature, e.note, False, None, None, None)
        for e, f in found
    ]
