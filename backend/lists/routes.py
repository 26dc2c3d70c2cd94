"""Pages of lists: make, import, read, download and edit, all by plain forms.

The edit address carries the list's secret. Its page is never stored by the browser's cache, sends no address onward,
and asks not to be indexed.
"""

from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response, UploadFile
from fastapi.responses import RedirectResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from backend.exceptions import NotFoundError, RefusedError, StoreFullError
from backend.html.address import query
from backend.html.templates import render
from backend.lists.api import ListsDep, edit_address
from backend.lists.entries import MAX_LIST_NOTE, MAX_NOTE, Draft, ListEntry, clean_name, make_draft
from backend.lists.files import FORMATS, FileRow, read_file
from backend.lists.page import (
    ENTRIES_PER_PAGE,
    Limits,
    ListEditPage,
    ListsPage,
    NewListPage,
    entries_pager,
    entry_views,
    find_entry,
    first_shown,
    list_page_of,
    look_up,
)
from backend.lists.store import ListStore
from backend.published.catalogue import Catalogue
from backend.storage import clean_text
from backend.texts import Typed, TypedText
from backend.web.dependencies import LibraryDep
from backend.web.problems import status_of
from data.errors import MonosemaError

router = APIRouter(prefix="/lists", include_in_schema=False)

PREVIEW_SHOWN = 20
UNLISTED = {"x-robots-tag": "noindex"}
SECRET_PAGE = {**UNLISTED, "cache-control": "no-store", "referrer-policy": "strict-origin"}
"""The secret address is never sent onward: only the origin is, which forms need."""
DONE = {
    "made": "The list is made. Keep this page's address: it alone allows to edit the list.",
    "described": "Name and note are saved.",
    "save": "The note is saved.",
    "up": "Moved up.",
    "down": "Moved down.",
    "remove": "Removed.",
    "add": "Added.",
    "there": "Everything you named was in the list already.",
}
Action = Literal["describe", "save", "up", "down", "remove", "add", "delete"]
NamesQuery = Annotated[tuple[str, ...], Query(max_length=1000, description="model/sae/index")]
ListPageNumber = Annotated[int, Query(ge=1, le=10_000)]


class ListForm(Typed):
    """The form that makes a list; other pages may send it too."""

    name: str = ""
    note: str = ""
    f: list[str] = Field(default=[])
    features: str = ""
    """One model/sae/index a line, as many as a list may have; `f` takes a few hundred."""
    copy_of: str = ""
    """Id of a list whose entries, name and note are taken over."""

    @property
    def names(self) -> list[str]:
        """Every feature that the form names."""
        return [name for name in (*self.f, *self.features.split()) if name.strip()]


class EditForm(Typed):
    """One change to a list."""

    do: Action
    feature: str = ""
    note: str = ""
    name: str = ""
    list_note: str = ""
    features: str = ""
    """To add: one a line."""
    sure: bool = False


@router.get("")
def lists_page(request: Request) -> Response:
    """An introduction to lists, the lists that this browser may edit, and the forms to make one."""
    return render(request, "lists/lists.html", ListsPage(Limits(), ""))


@router.get("/new")
def new_list_page(request: Request, library: LibraryDep, f: NamesQuery = (), name: TypedText = "") -> Response:
    """The form for a new list, with features filled in."""
    return _new_page(request, library.catalogue(), ListForm(f=list(f), name=name))


@router.post("")
def create_list_form(
    request: Request, form: Annotated[ListForm, Form()], library: LibraryDep, lists: ListsDep
) -> Response:
    """Make a list, and lead to its secret edit address."""
    try:
        draft = _copy(lists, form.copy_of) if form.copy_of else _draft(library.catalogue(), form)
        made = lists.create(draft)
    except (RefusedError, StoreFullError) as error:
        return _new_page(request, library.catalogue(), form, error)
    return _to_edit(*made, done="made")


@router.post("/import")
async def import_list(request: Request, file: UploadFile, lists: ListsDep) -> Response:
    """Make a list of a file, and lead to its secret edit address."""
    data = await file.read()
    try:
        draft = await run_in_threadpool(read_file, file.filename or "", data)
        made = await run_in_threadpool(lists.create, draft)
    except (RefusedError, StoreFullError) as error:
        return render(request, "lists/lists.html", ListsPage(Limits(), str(error)), status_of(error))
    return _to_edit(*made, done="made")


@router.get("/{list_id}.{ending}")
def download_list(list_id: str, ending: str, library: LibraryDep, lists: ListsDep) -> Response:
    """A list as a file."""
    if ending not in FORMATS:
        raise NotFoundError(f"Lists come as {', '.join(FORMATS)}; there is no '{ending}'.")
    saved, entries = lists.find(list_id), lists.entries(list_id)
    rows = [FileRow(*pair) for pair in zip(entries, look_up(library.catalogue(), entries), strict=True)]
    made = FORMATS[ending]
    named = quote(f"{saved.name[:80]}.{ending}".replace("/", "-"), safe="")
    headers = {**UNLISTED, "content-disposition": f"attachment; filename=\"list.{ending}\"; filename*=UTF-8''{named}"}
    return Response(made.write(saved.name, saved.note, rows), media_type=made.media_type, headers=headers)


@router.get("/{list_id}")
def read_list(
    request: Request, list_id: str, library: LibraryDep, lists: ListsDep, page: ListPageNumber = 1
) -> Response:
    """A list, to read."""
    saved, entries = lists.find(list_id), lists.entries(list_id, first_shown(page), ENTRIES_PER_PAGE)
    response = render(request, "lists/list.html", list_page_of(library.catalogue(), saved, entries, page))
    response.headers.update(UNLISTED)
    return response


@router.get("/{list_id}/edit")
def edit_page(
    request: Request, list_id: str, library: LibraryDep, lists: ListsDep, key: str = "", page: ListPageNumber = 1,
    done: str = "",
) -> Response:  # fmt: skip
    """A list, to change."""
    lists.check(list_id, key)
    return _edit_page(request, library.catalogue(), lists, list_id, key, page, status=DONE.get(done, ""))


@router.post("/{list_id}/edit")
def edit_list(
    request: Request, list_id: str, form: Annotated[EditForm, Form()], library: LibraryDep, lists: ListsDep,
    key: str = "", page: ListPageNumber = 1,
) -> Response:  # fmt: skip
    """Change a list, and lead back to it."""
    if form.do == "delete" and form.sure:
        lists.delete(list_id, key)
        return RedirectResponse("/lists", 303, SECRET_PAGE)
    try:
        done, place = _apply(library.catalogue(), lists, list_id, key, form)
    except RefusedError as error:
        return _edit_page(request, library.catalogue(), lists, list_id, key, page, problem=str(error), form=form)
    return _to_edit(list_id, key, done, page if place is None else place // ENTRIES_PER_PAGE + 1, place)


def _apply(catalogue: Catalogue, lists: ListStore, list_id: str, key: str, form: EditForm) -> tuple[str, int | None]:
    """Do what the form asks. Returns the message's name, and the place to look at. Raises RefusedError."""
    with lists.edit(list_id, key) as edit:
        match form.do:
            case "describe":
                note = clean_text(form.list_note, MAX_LIST_NOTE, "the note of a list")
                edit.describe(name=clean_name(form.name), note=note)
                return "described", None
            case "add":
                found = _published(catalogue, form.features.split())
                place = edit.count()
                return ("add", place) if edit.add(found) else ("there", None)
            case "save":
                edit.annotate(form.feature, clean_text(form.note, MAX_NOTE, "a note"))
                return form.do, edit.place(form.feature)
            case "up" | "down":
                step = -1 if form.do == "up" else 1
                return form.do, edit.move(form.feature, edit.place(form.feature) + step)
            case "remove":
                place = edit.place(form.feature)
                edit.remove(form.feature)
                return form.do, max(place - 1, 0)
            case "delete":
                raise RefusedError("Nothing was deleted: tick the box beside the button to confirm.")


def _draft(catalogue: Catalogue, form: ListForm) -> Draft:
    return make_draft(form.name, form.note, _published(catalogue, form.names))


def _copy(lists: ListStore, list_id: str) -> Draft:
    saved = lists.find(list_id)
    return make_draft(f"Copy of {saved.name}"[:200], saved.note, lists.entries(list_id))


def _published(catalogue: Catalogue, names: list[str]) -> list[ListEntry]:
    """Entries of features that are there. Raises RefusedError that names those that are not."""
    entries = [ListEntry.parse(name) for name in names]
    if missing := [entry.feature for entry in entries if find_entry(catalogue, entry) is None]:
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        raise RefusedError(f"There is no feature {', '.join(missing[:3])}{more} here: correct or remove it.")
    return entries


def _new_page(request: Request, catalogue: Catalogue, form: ListForm, refused: MonosemaError | None = None) -> Response:
    preview: list[ListEntry] = []
    if not refused:
        try:
            preview = _published(catalogue, form.names)
        except RefusedError as error:
            refused = error
    found = look_up(catalogue, preview[:PREVIEW_SHOWN])
    page = NewListPage(
        limits=Limits(),
        name=form.name,
        note=form.note,
        features="\n".join(form.names),
        preview=[feature for feature in found if feature],
        num_features=len(preview),
        problem=str(refused or ""),
    )
    return render(request, "lists/new.html", page, status_of(refused) if refused else 200)


def _edit_page(
    request: Request, catalogue: Catalogue, lists: ListStore, list_id: str, key: str, page: int, *, problem: str = "",
    status: str = "", form: EditForm | None = None,
) -> Response:  # fmt: skip
    """The page that changes a list. form: the one that was refused."""
    saved, entries = lists.find(list_id), lists.entries(list_id, first_shown(page), ENTRIES_PER_PAGE)
    described = form is not None and form.do == "describe"
    if form is not None and form.do == "save":
        entries = [replace(one, note=form.note) if one.feature == form.feature else one for one in entries]
    context = ListEditPage(
        saved=saved,
        name=form.name if form and described else saved.name,
        note=form.list_note if form and described else saved.note,
        features=form.features if form else "",
        key=key,
        action=f"{saved.href}/edit{query(key=key, page=page)}",
        secret_link=edit_address(list_id, key),
        entries=entry_views(catalogue, entries, first_shown(page)),
        pager=entries_pager(page, saved.num_entries, key=key),
        limits=Limits(),
        problem=problem,
        status=status,
    )
    response = render(request, "lists/edit.html", context, 422 if problem else 200)
    response.headers.update(SECRET_PAGE)
    return response


def _to_edit(list_id: str, key: str, done: str, page: int = 1, place: int | None = None) -> Response:
    more = {"page": page if page > 1 else None, "done": done}
    anchor = "" if place is None else f"#e{place + 1}"
    return RedirectResponse(f"/lists/{list_id}/edit{query(key=key, **more)}{anchor}", 303, SECRET_PAGE)
