"""The page of a search by prompts, and its forms."""

from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.routing import Match as RouteMatch
from starlette.types import Scope

from backend.engine.engine import Engine
from backend.engine.limits import MAX_PROMPT_CHARACTERS
from backend.exceptions import RefusedError
from backend.html.page import Link
from backend.prompts.api import PromptsDep, load_text
from backend.prompts.page import hide_links, sae_choices
from backend.prompts.store import StoredPrompts
from backend.published.catalogue import Library, OpenSAE
from backend.search.asking import search_prompts, searched_saes
from backend.search.prompts import MATCH_ORDERS
from backend.search.prompts_page import (
    EXAMPLE_SEARCH,
    MATCHES_SHOWN,
    PromptSearchPage,
    PromptSearchResult,
    SearchForm,
    SearchPrompt,
    SearchState,
    count_links,
    order_links,
    prompt_search_result_of,
    share_links,
)
from backend.search.topics import MAX_TOPIC, missing_prompts, write_prompts
from backend.search.words_page import mode_tabs
from backend.web.dependencies import EngineDep, LibraryDep
from backend.web.live import ask, ask_for_page, respond
from data.errors import MonosemaError

SHORT_PROMPT = 120
"""Characters of a prompt that stays in the address of a long search."""


class ByPrompts(APIRoute):
    """Matches `/search?by=prompts`, and leaves `/search` by anything else to its own route."""

    def matches(self, scope: Scope) -> tuple[RouteMatch, Scope]:
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("by", [])
        return super().matches(scope) if asked[-1:] == ["prompts"] else (RouteMatch.NONE, {})


router = APIRouter(include_in_schema=False)
pages = APIRouter(route_class=ByPrompts, include_in_schema=False)


@pages.get("/search")
async def prompt_search_page(
    request: Request,
    form: Annotated[SearchForm, Query()],
    engine: EngineDep,
    library: LibraryDep,
    prompts: PromptsDep,
) -> Response:
    """Type prompts, see which features they have in common."""
    return await _page(request, await run_in_threadpool(_read_state, prompts, form), engine, library)


@router.post("/search")
async def prompt_search_form(
    request: Request, form: Annotated[SearchForm, Form()], engine: EngineDep, library: LibraryDep, prompts: PromptsDep
) -> Response:
    """Redirect to the address of a search; long prompts are stored first."""
    state = await run_in_threadpool(_read_state, prompts, form)
    return await _redirect(request, state, engine, library, prompts)


@router.post("/search/topic")
async def topic_form(
    request: Request, form: Annotated[SearchForm, Form()], engine: EngineDep, library: LibraryDep, prompts: PromptsDep
) -> Response:
    """Let the model write prompts for a topic, and show them for editing."""
    state = await run_in_threadpool(_read_state, prompts, form)
    saes = await run_in_threadpool(searched_saes, library, form.sae)
    try:
        written = await ask(request, write_prompts, engine, saes[0].run, form.topic, form.k, form.seed)
    except MonosemaError as error:
        return await _page(request, state.with_form(edit=True), engine, library, error)
    state = SearchState(tuple(map(SearchPrompt, written.positive)), tuple(map(SearchPrompt, written.negative)), form)
    return await _redirect(request, state, engine, library, prompts, edit=True)


async def _redirect(
    request: Request, state: SearchState, engine: Engine, library: Library, prompts: StoredPrompts, **changes: Any
) -> Response:
    """Store the long prompts of a search, and redirect to its address."""
    try:
        stored = await run_in_threadpool(_store_long, prompts, state)
    except MonosemaError as error:
        return await _page(request, state, engine, library, error)
    return RedirectResponse(f"{stored.href(**changes)}#{'written' if changes else 'found'}", 303)


async def _page(
    request: Request, state: SearchState, engine: Engine, library: Library, refused: MonosemaError | None = None
) -> Response:
    form = state.form
    saes = await run_in_threadpool(searched_saes, library, form.sae)
    asked = bool(state.positive or state.negative)

    async def search() -> PromptSearchResult:
        return await _result(engine, saes, state)

    work = search if asked and not form.edit else None
    answer = await ask_for_page(request, engine, saes[0].run, work, refused)
    page = PromptSearchPage(
        tabs=mode_tabs("prompts"),
        off=answer.off,
        loaded=answer.loaded,
        problem=answer.problem(
            state.href(), Link("Read them as plain text", state.href(chat=False)) if form.chat else None
        ),
        note=_note(state) if form.edit and not answer.error else "",
        state=state,
        max_characters=MAX_PROMPT_CHARACTERS,
        max_topic=MAX_TOPIC,
        saes=sae_choices(saes),
        at_least=share_links(form.at_least, zero=False),
        at_most=share_links(form.at_most, zero=True),
        hides=hide_links(form.hide),
        orders=order_links(form.order),
        order_about=MATCH_ORDERS[form.order][1],
        counts=count_links(form.k),
        next_seed=form.seed + 1 if form.topic and asked else form.seed,
        result=answer.result,
        series_of={sae.name: sae.record.position for sae in saes[0].run.saes},
        example=_example(form).href(),
    )
    return respond(request, "search/prompt_search.html", page, answer)


async def _result(engine: Engine, saes: list[OpenSAE], state: SearchState) -> PromptSearchResult:
    form = state.form
    positive, negative = ([entry.text for entry in entries] for entries in (state.positive, state.negative))
    found = await search_prompts(
        engine, saes, positive, negative, form.chat, form.criteria, form.order, MATCHES_SHOWN, form.minor
    )
    return await run_in_threadpool(prompt_search_result_of, state, [sae.href[1:] for sae in saes], found)


def _read_state(prompts: StoredPrompts, form: SearchForm) -> SearchState:
    """The prompts of a form, empty ones left out. Raises NotFoundError for one that is not stored."""

    def entries(texts: list[str], ids: list[str]) -> tuple[SearchPrompt, ...]:
        typed = [SearchPrompt(text) for text in texts if text]
        return (*typed, *(SearchPrompt(load_text(prompts, name), name) for name in ids))

    return SearchState(entries(form.pos, form.pos_p), entries(form.neg, form.neg_p), form)


def _store_long(prompts: StoredPrompts, state: SearchState) -> SearchState:
    """Store the longer prompts when all together are too long for an address."""

    def stored(entries: tuple[SearchPrompt, ...]) -> tuple[SearchPrompt, ...]:
        kept = [entry for entry in entries if len(entry.text) <= SHORT_PROMPT]
        longer = [entry for entry in entries if SHORT_PROMPT < len(entry.text) <= MAX_PROMPT_CHARACTERS]
        refused = [entry for entry in entries if len(entry.text) > MAX_PROMPT_CHARACTERS]
        if refused:
            raise RefusedError(
                f"A prompt has {len(refused[0].text):,} characters, at most {MAX_PROMPT_CHARACTERS:,} can be read."
            )
        return (*kept, *(SearchPrompt(entry.text, entry.id or prompts.save(entry.text)) for entry in longer))

    return SearchState(stored(state.positive), stored(state.negative), state.form) if state.long else state


def _note(state: SearchState) -> str:
    """A note on prompts that the model has just written."""
    form = state.form
    if not form.topic:
        return ""
    missing = missing_prompts(len(state.positive), len(state.negative), form.k)
    written = (
        f"The model wrote these about “{form.topic}” and about other things. Change what does not fit, then search."
    )
    return f"{written} {missing}" if state.positive or state.negative else missing


def _example(form: SearchForm) -> SearchState:
    positive, negative = EXAMPLE_SEARCH
    return SearchState(
        tuple(map(SearchPrompt, positive)),
        tuple(map(SearchPrompt, negative)),
        SearchForm.model_validate({"sae": form.sae}),
    )
