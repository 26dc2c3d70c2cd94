"""The search by words."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from backend.engine.engine import Engine
from backend.exceptions import NotFoundError, RefusedError
from backend.published.catalogue import Library, OpenRun
from backend.published.lookup import find_feature
from backend.published.search import SearchResult, WordSearch, search
from backend.search.reading import Lit, light_up
from backend.search.words_page import Found, NamedRun, SearchMode, search_page_of
from backend.web.dependencies import EngineDep, LibraryDep, RunDep
from backend.web.live import ask, ask_for_page, respond

router = APIRouter(tags=["search"])
WordSearchQuery = Annotated[WordSearch, Query()]


@router.get("/api/v1/search")
def search_features(run: RunDep, engine: EngineDep, asked: WordSearchQuery) -> SearchResult:
    """Features of a run (the newest, without `run`) that have all the words of `q` or mean the same, the best first.

    Words are found by their beginnings, whatever their case. A feature has them in its label, where it is strongest, in
    the tokens that it promotes, or around the strongest tokens of its examples. At most the 500 best matches are
    ranked, and the 60 nearest by meaning, where the run can be searched by meaning.
    """
    _require_sae(run, asked)
    if not asked.words:
        raise RefusedError("q: type a word, a number or a sign to search for.")
    return search(run, asked, engine.sentences.vector(run, asked.q))


@router.get("/api/v1/search/reading", tags=["live"])
async def search_by_reading(request: Request, run: RunDep, engine: EngineDep, asked: WordSearchQuery) -> list[Lit]:
    """The features that light up on the tokens of `q` when the model reads it, alone and in a few sentences."""
    _require_sae(run, asked)
    if not asked.words:
        raise RefusedError("q: type something for the model to read.")
    return await ask(request, light_up, engine, run, asked)


@router.get("/search", include_in_schema=False)
async def search_page(
    request: Request,
    run: RunDep,
    library: LibraryDep,
    engine: EngineDep,
    asked: WordSearchQuery,
    by: SearchMode = "words",
    read: bool = False,
) -> Response:
    """The search page. A feature's name redirects to the feature. read: the model reads what was typed, too."""
    _require_sae(run, asked)
    if feature := await run_in_threadpool(_named, run, library, asked.q):
        return RedirectResponse(feature, 303)
    found = await run_in_threadpool(_search, run, engine, asked) if asked.words else None
    work = partial(light_up, engine, run, asked) if found and read else None
    answer = await ask_for_page(request, engine, run, work)
    place = NamedRun(run=run.name if "run" in request.query_params else "")
    page = await run_in_threadpool(search_page_of, run, place, asked, found, answer)
    return respond(request, "search/search.html", page, answer)


def _search(run: OpenRun, engine: Engine, asked: WordSearch) -> Found:
    """What words and meaning find, and why meaning finds nothing if it is off."""
    return Found(search(run, asked, engine.sentences.vector(run, asked.q)), engine.sentences.why_off(run))


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
