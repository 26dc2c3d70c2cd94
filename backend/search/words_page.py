"""The search page: its modes and its context."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from backend.html.address import Address
from backend.html.page import Link, Page, Pager
from backend.published.cards import RunCard, kinds_text, run_card
from backend.published.catalogue import OpenRun
from backend.published.marking import Segment
from backend.published.search import MAX_FOUND, FoundBy, SearchHit, SearchResult, WordSearch
from backend.published.selection import kind_choices
from backend.search.reading import Lit
from backend.web.live import Answer, Problem

SearchMode = Literal["words", "prompts"]
"""The mode of a search: `by` in the address."""
SEARCH_MODES: dict[SearchMode, str] = {"words": "By words", "prompts": "By prompts"}
"""Titles of the tabs, in their order."""
FIELDS: dict[FoundBy, tuple[str, str]] = {
    "label": ("Labels", "label"),
    "peaks": ("Strongest words", "strongest words"),
    "promoted": ("Promoted tokens", "promoted tokens"),
    "examples": ("Example texts", "examples"),
    "meaning": ("Meaning", "meaning"),
}
"""The fields of a search: their names in the form, and in a result."""
SUGGESTIONS_TO_START = ("hurricane", "bad weather", "royalty", "music", "because", "(")


class NamedRun(Address):
    """The run, where an address names one: without it the newest is searched."""

    run: str = ""


class ReadToo(Address):
    """Whether the model reads what was typed, too."""

    read: bool = False


class Found(NamedTuple):
    """What a search found."""

    result: SearchResult
    meaning_off: str
    """The reason why features are not found by meaning; "" when they are."""


@dataclass(frozen=True)
class ReadingView:
    """What lights up when the model reads what was typed."""

    href: str
    """The address that makes the model read it; "" when it has."""
    loaded: bool
    """Whether the model is in memory."""
    lit: list[Lit]
    series_of: dict[str, int]
    """Colours of the SAEs by name."""
    problem: Problem | None


@dataclass(frozen=True)
class HitView:
    """A result as it is shown."""

    hit: SearchHit
    series: int
    """Colour of its SAE."""
    found_in: str
    """The names of the fields that have the words; "" when none has them."""
    by_meaning: str
    """How near its meaning is, in words; "" when it is not near."""
    promoted: list[list[Segment]]
    """Those of the tokens that it promotes which were searched for: the others tell little."""


@dataclass(frozen=True)
class SearchPage(Page):
    """search/search.html: features of all SAEs of a run by words."""

    tabs: list[Link]
    """The modes of the search."""
    run: RunCard
    run_name: str
    """Of the run when the address names it, else ""."""
    asked: WordSearch
    fields: list[tuple[str, str]]
    """The fields to search: value and name."""
    narrowed: bool
    """Whether more than words and fields narrow the search down."""
    kinds: str
    """What rare and negligible mean."""
    kind_choices: list[Link]
    """Kinds of features: `text` is shown, `href` is the value."""
    result: SearchResult | None
    """None when nothing was asked for."""
    meaning_off: str
    """The reason why features are not found by meaning; "" when they are."""
    reading: ReadingView | None
    """None when nothing was asked for, or the model is not available."""
    hits: list[HitView]
    summary: str
    """The number of results, in words."""
    pager: Pager | None
    relax: list[Link]
    """Links to wider searches, when nothing is found."""
    starts: list[Link]
    """Searches to begin with."""


def mode_tabs(mode: SearchMode) -> list[Link]:
    """The modes as a bar of links, see search/_tabs.html."""
    return [
        Link(text, "/search" if by == "words" else f"/search?by={by}", by == mode) for by, text in SEARCH_MODES.items()
    ]


def search_page_of(
    run: OpenRun, place: NamedRun, asked: WordSearch, found: Found | None, answer: Answer[list[Lit]]
) -> SearchPage:
    """The page of a search. found: None when nothing was searched; answer: the model's, if it was asked."""
    asked, series = asked.named(), {sae.name: sae.record.position for sae in run.saes}
    result = found.result if found else None
    return SearchPage(
        tabs=mode_tabs("words"),
        run=run_card(run),
        run_name=place.run,
        asked=asked,
        fields=[(name, title) for name, (title, _) in FIELDS.items()],
        narrowed=(asked.kind, asked.min_density, asked.max_density) != (None, None, None),
        kinds=kinds_text(run),
        kind_choices=kind_choices(asked.shown),
        result=result,
        meaning_off=found.meaning_off if found else "",
        reading=_reading(asked, place, answer, series) if result and not answer.off else None,
        hits=[_view(hit, series) for hit in result.hits] if result else [],
        summary=_summary(result) if result else "",
        pager=_pager(result, asked, place) if result else None,
        relax=_relax(asked, place) if result and not result.total else [],
        starts=[Link(word, WordSearch(q=word).href(place)) for word in SUGGESTIONS_TO_START],
    )


def _reading(asked: WordSearch, place: NamedRun, answer: Answer[list[Lit]], series: dict[str, int]) -> ReadingView:
    address = asked.href(place, ReadToo(read=True), page=asked.page) + "#reading"
    waits = answer.result is None and answer.error is None
    return ReadingView(address if waits else "", answer.loaded, answer.result or [], series, answer.problem(address))


def _view(hit: SearchHit, series: dict[str, int]) -> HitView:
    places = [FIELDS[name][1] for name in hit.found_in if name != "meaning"]
    near = "" if hit.cosine is None else f"means nearly this ({hit.cosine:.2f})"
    shown = [token for token in hit.promoted if any(segment.hit for segment in token)]
    return HitView(hit, series[hit.feature.sae], ", ".join(places), near, shown)


def _summary(result: SearchResult) -> str:
    if result.more:
        return f"More than {MAX_FOUND:,} features have it: here are the {result.total:,} that match best"
    return f"{result.total:,} feature{'' if result.total == 1 else 's'}"


def _pager(result: SearchResult, asked: WordSearch, place: NamedRun) -> Pager:
    return Pager.at(result.page, result.per_page, result.total, lambda page: asked.href(place, page=page))


def _relax(asked: WordSearch, place: NamedRun) -> list[Link]:
    """Links to wider searches, each without one of the filters."""
    links = []
    if asked.within:
        links.append(Link("look everywhere, by meaning too", asked.href(place, within=None)))
    if asked.sae:
        links.append(Link("look in all SAEs", asked.href(place, sae="")))
    if (asked.min_density, asked.max_density) != (None, None):
        links.append(Link("take any density", asked.href(place, min_density=None, max_density=None)))
    if asked.shown not in ("active", "all"):
        links.append(Link("look among rare and negligible features too", asked.href(place, kind="active")))
    if asked.shown != "all" and asked.within in (None, "promoted"):  # nothing else is known of dead ones
        links.append(Link("look among all features, dead ones too", asked.href(place, kind="all")))
    if len(asked.words) > 1:
        links += [Link(f"only “{word}”", asked.href(place, q=word)) for word in asked.words[:4]]
    elif len(asked.words[0]) > 3:
        links.append(Link(f"only its beginning “{asked.words[0][:3]}”", asked.href(place, q=asked.words[0][:3])))
    return links
