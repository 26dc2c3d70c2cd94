"""The pages of lists: their contexts, and the lookup of entries among the published features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.engine.limits import MAX_FEATURES
from backend.html.address import query
from backend.html.page import Page, Pager
from backend.html.tokens import visible_text
from backend.lists.entries import MAX_ENTRIES, MAX_LIST_NOTE, MAX_NAME, MAX_NOTE, ListEntry
from backend.lists.files import FORMATS
from backend.lists.store import SavedList
from backend.published.cards import SAECard, sae_card
from backend.published.catalogue import Catalogue, OpenRun, OpenSAE
from backend.published.examples import FeaturePreview, clip_context, get_previews
from backend.published.features import FeatureSummary, get_summaries

ENTRIES_PER_PAGE = 50
CONTEXT_SHOWN = 10
"""Tokens on either side of an example's strongest."""
PROMOTED_PER_ENTRY = 5


@dataclass(frozen=True)
class EntryView:
    """One entry as pages show it."""

    number: int
    """Its place, from 1."""
    entry: ListEntry
    preview: FeaturePreview | None
    """None when the feature is not published any more."""
    card: SAECard | None

    @property
    def note_lines(self) -> list[str]:
        return shown_lines(self.entry.note)


@dataclass(frozen=True)
class Limits:
    """Limits that forms state."""

    name: int = MAX_NAME
    list_note: int = MAX_LIST_NOTE
    note: int = MAX_NOTE
    entries: int = MAX_ENTRIES


@dataclass(frozen=True)
class ListsPage(Page):
    """lists/lists.html: an introduction, the lists this browser may edit, forms to make and import one."""

    limits: Limits
    problem: str
    """The reason why the last form was refused; "" when it was not."""


@dataclass(frozen=True)
class NewListPage(Page):
    """lists/new.html: a list about to be made."""

    limits: Limits
    name: str
    note: str
    features: str
    """One model/sae/index a line."""
    preview: list[FeatureSummary]
    num_features: int
    problem: str


@dataclass(frozen=True)
class ListPage(Page):
    """lists/list.html: a list, to read."""

    saved: SavedList
    name: str
    note_lines: list[str]
    entries: list[EntryView]
    pager: Pager
    formats: list[tuple[str, str]]
    """Name and address of each file."""
    steer: str
    """Address that steers with its first features, or ""."""
    num_steered: int
    map: str
    """Address that shows its first live feature on the map, or ""."""
    num_gone: int
    """Entries on this page whose feature is not published any more."""


@dataclass(frozen=True)
class ListEditPage(Page):
    """lists/edit.html: a list, to change. What a refused form held stands in its fields again."""

    saved: SavedList
    name: str
    note: str
    key: str
    """The secret."""
    action: str
    """The address that forms are sent to."""
    secret_link: str
    entries: list[EntryView]
    pager: Pager
    features: str
    """To add: one a line."""
    limits: Limits
    problem: str
    status: str
    """A message on the last change."""


def shown_lines(text: str) -> list[str]:
    """A note line by line, as pages show it."""
    return [visible_text(line) for line in text.split("\n")] if text else []


def first_shown(page: int) -> int:
    """Place of the first entry of a page, from 0."""
    return (page - 1) * ENTRIES_PER_PAGE


def entries_pager(page: int, total: int, **parameters: str) -> Pager:
    """The pager of a list's entries."""
    return Pager.at(page, ENTRIES_PER_PAGE, total, lambda other: query(**parameters, page=other))


def find_entry(catalogue: Catalogue, entry: ListEntry) -> OpenSAE | None:
    """The SAE of an entry's feature, or None when it is not published."""
    sae = catalogue.saes.get((entry.model, entry.sae))
    return sae if sae is not None and sae.has(str(entry.index)) else None


def look_up(catalogue: Catalogue, entries: Sequence[ListEntry]) -> list[FeatureSummary | None]:
    """The features of entries in one read per run, None for those that are not published."""
    return _by_run(catalogue, entries, get_summaries)


def entry_views(catalogue: Catalogue, entries: Sequence[ListEntry], first: int) -> list[EntryView]:
    """Entries from place `first` on, each with an example; four reads per run."""
    previews = _by_run(catalogue, entries, lambda run, rows: [_brief(s) for s in get_previews(run, rows, 1)])
    found = []
    for place, (entry, preview) in enumerate(zip(entries, previews, strict=True)):
        sae = find_entry(catalogue, entry)
        found.append(EntryView(first + place + 1, entry, preview, sae_card(sae) if sae else None))
    return found


def _brief(preview: FeaturePreview) -> FeaturePreview:
    examples = [clip_context(example, CONTEXT_SHOWN) for example in preview.examples]
    return FeaturePreview(preview.feature, preview.promoted[:PROMOTED_PER_ENTRY], examples)


def _by_run(catalogue: Catalogue, entries: Sequence[ListEntry], read: Any) -> list[Any]:
    """The result of `read(run, rows)` for each entry, read once per run; None for entries that are not published."""
    places: dict[str, tuple[OpenRun, list[int], list[int]]] = {}
    for number, entry in enumerate(entries):
        if sae := find_entry(catalogue, entry):
            _, numbers, rows = places.setdefault(sae.run.name, (sae.run, [], []))
            numbers.append(number)
            rows.append(sae.row(entry.index))
    found: list[Any] = [None] * len(entries)
    for run, numbers, rows in places.values():
        for number, value in zip(numbers, read(run, rows), strict=True):
            found[number] = value
    return found


def list_page_of(catalogue: Catalogue, saved: SavedList, entries: list[ListEntry], page: int) -> ListPage:
    """The page that shows `entries`, those of page `page`."""
    shown = entry_views(catalogue, entries, first_shown(page))
    features = [view.preview.feature for view in shown if view.preview and view.card]
    alive = [feature for feature in features if not feature.dead]
    steered = [feature.name for feature in alive if feature.model == alive[0].model][:MAX_FEATURES]
    return ListPage(
        saved=saved,
        name=visible_text(saved.name),
        note_lines=shown_lines(saved.note),
        entries=shown,
        pager=entries_pager(page, saved.num_entries),
        formats=[(form.name, f"{saved.href}.{ending}") for ending, form in FORMATS.items()],
        steer="/steer?" + "&".join(f"f={name}" for name in steered) if steered else "",
        num_steered=len(steered),
        map=_map_address(alive, catalogue),
        num_gone=sum(view.preview is None for view in shown),
    )


def _map_address(alive: list[FeatureSummary], catalogue: Catalogue) -> str:
    """The map of the run that the first feature belongs to, with that feature in focus."""
    if not alive:
        return ""
    first = alive[0]
    return f"/explore{query(run=catalogue.saes[first.model, first.sae].run.name, f=first.name)}"
