"""The search by words."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from backend.exceptions import NotFoundError, RefusedError
from backend.html.templates import render
from backend.published.cards import run_card
from backend.published.catalogue import Library, OpenRun
from backend.published.lookup import find_feature
from backend.published.search import SearchResult, WordSearch, search
from backend.search.words_page import SearchMode, search_page_of
from backend.web.dependencies import LibraryDep, RunDep

router = APIRouter(tags=["search"])
WordSearchQuery = Annotated[WordSearch, Query()]


@router.get("/api/v1/search")
def search_features(run: RunDep, asked: WordSearchQuery) -> SearchResult:
    """Features of a run (the newest, without `run`) that have all the words of `q`, the best match first.

    Words are found by their beginnings, whatever their case. A feature has them in its label, in the tokens that it
    promotes, or around the strongest tokens of its examples. At most the 500 best matches are searched.
    """
    _require_sae(run, asked)
    if not asked.words:
        raise RefusedError("q: type a word, a number or a sign to search for.")
    return search(run, asked)


@router.get("/search", include_in_schema=False)
def search_page(
    request: Request, run: RunDep, library: LibraryDep, asked: WordSearchQuery, by: SearchMode = "words"
) -> Response:
    """The search page. A feature's name redirects to the feature."""
    _require_sae(run, asked)
    if feature := _named(run, library, asked.q):
        return RedirectResponse(feature, 303)
    result = search(run, asked) if asked.words else None
    named = "run" in request.query_params
    return render(request, "search/search.html", search_page_of(run, run_card(run), named, asked, result))


def _named(run: OpenRun, library: Library, q: str) -> str | None:
    """The address of the feature that sae/index, model/sae/index or an address names."""
    name = q.strip() if q.count("/") > 1 else f"{run.record.model}/{q.strip()}"
    try:
        sae, index = find_feature(library, name)
    except RefusedError:
        return None
    return f"{sae.href}/{index}"


def _require_sae(run: OpenRun, asked: WordSearch) -> None:
    if asked.sae and asked.sae not in {sae.name for sae in run.saes}:
        raise NotFoundError(f"There is no SAE '{asked.sae}' in run '{run.name}'.")
