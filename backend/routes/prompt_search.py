"""Search by prompts: features active in all of some and in none of others, as a page and for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.routing import Match as RouteMatch
from starlette.types import Scope

from backend.catalogue import Library, OpenSAE
from backend.clients import know_again
from backend.connections import while_connected
from backend.contexts import Link
from backend.dependencies import EngineDep, LibraryDep, PromptsDep
from backend.engine import Engine
from backend.errors import retry_headers, status_of
from backend.live import Prompt, Reading, RefusedError
from backend.prompt_search import ORDERS, Criteria, Found, Match, Order, Relaxed, Step, find, tabulate
from backend.prompt_search_page import (
    EXAMPLE,
    MAX_PROMPTS,
    SHOWN,
    Entry,
    PromptSearchPage,
    SearchForm,
    SearchResult,
    SearchState,
    count_links,
    order_links,
    present,
    share_links,
)
from backend.prompts import Problem, hide_links, sae_choices
from backend.routes.prompts import Text, load_text, named_saes
from backend.search_page import mode_tabs
from backend.stored_prompts import MAX_TEXT, StoredPrompts, unix_lines
from backend.templates import render
from backend.topics import MAX_TOPIC, MOST, TopicPrompts, shortfall, write_prompts
from backend.turns import turn
from data.errors import MonosemaError

SHORT = 120
"""Characters of a prompt that stays in the address of a long search."""


class ByPrompts(APIRoute):
    """Takes `/search?by=prompts`, and leaves `/search` by anything else to its own route."""

    def matches(self, scope: Scope) -> tuple[RouteMatch, Scope]:
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("by", [])
        return super().matches(scope) if asked[-1:] == ["prompts"] else (RouteMatch.NONE, {})


router = APIRouter(tags=["live"])
pages = APIRouter(route_class=ByPrompts, include_in_schema=False)


class SearchBody(BaseModel):
    """Prompts to search by."""

    positive: list[Text] = Field(min_length=1, max_length=MAX_PROMPTS)
    negative: list[Text] = Field([], max_length=MAX_PROMPTS)
    saes: list[str] = Field([], max_length=16, description="model/name each, all of one run; all of the newest without")
    chat: bool = Field(False, description="Put each prompt into the model's chat template.")
    at_least: float = Field(
        Criteria.at_least, ge=0, le=1, description="Share of the feature's max that it has in every positive prompt."
    )
    at_most: float = Field(
        Criteria.at_most, ge=0, le=1, description="Share of the feature's max that it may have in a negative prompt."
    )
    hide_density: float = Field(1.0, ge=0, le=1, description="Leave out features active on more of the corpus.")
    order: Order = Field("rare", description="; ".join(f"{name}: {about}" for name, (_, about) in ORDERS.items()))
    limit: int = Field(50, ge=1, le=1000)


@dataclass(frozen=True)
class SearchAnswer:
    """What a search by prompts brings."""

    total: int
    hidden: int
    features: list[Match]
    steps: list[Step]
    relaxed: list[Relaxed]


@router.post("/api/v1/search")
async def search_by_prompts(request: Request, body: SearchBody, engine: EngineDep, library: LibraryDep) -> SearchAnswer:
    """Features active in all positive prompts and in no negative one; when there is none, what to relax."""
    saes = await run_in_threadpool(_searched, library, body.saes)
    criteria = Criteria(body.at_least, body.at_most, body.hide_density)
    with turn(request):
        work = _search(engine, saes, body.positive, body.negative, body.chat, criteria, body.order, body.limit)
        found = await while_connected(request, work)
    return SearchAnswer(found.total, found.hidden, found.matches, found.steps, found.relaxed)


class TopicBody(BaseModel):
    """A topic to write prompts for."""

    topic: str = Field(max_length=MAX_TOPIC)
    k: int = Field(5, ge=1, le=MOST, description="Prompts about it, and as many about other things.")
    seed: int = Field(0, ge=0, lt=2**31)
    sae: str = Field("", description="model/name of an SAE of the model to ask; the newest run's without")


@router.post("/api/v1/prompts/for-topic")
async def prompts_for_topic(request: Request, body: TopicBody, engine: EngineDep, library: LibraryDep) -> TopicPrompts:
    """Prompts about a topic, and about other things for contrast, written by the model itself."""
    run = (await run_in_threadpool(named_saes, library, [body.sae] if body.sae else []))[0].run
    with turn(request):
        work = write_prompts(engine, run, body.topic, body.k, body.seed)
        return await while_connected(request, work)


@pages.get("/search")
async def search_page(
    request: Request,
    form: Annotated[SearchForm, Query()],
    engine: EngineDep,
    library: LibraryDep,
    prompts: PromptsDep,
) -> Response:
    """Type prompts, see which features they have in common."""
    return await _page(request, await run_in_threadpool(_read_state, prompts, form), engine, library)


@router.post("/search", include_in_schema=False)
async def search_form(
    request: Request, form: Annotated[SearchForm, Form()], engine: EngineDep, library: LibraryDep, prompts: PromptsDep
) -> Response:
    """Go to the address of a search; long prompts are stored for it."""
    state = await run_in_threadpool(_read_state, prompts, form)
    return await _go(request, state, engine, library, prompts)


@router.post("/search/topic", include_in_schema=False)
async def topic_form(
    request: Request, form: Annotated[SearchForm, Form()], engine: EngineDep, library: LibraryDep, prompts: PromptsDep
) -> Response:
    """Let the model write prompts for a topic, and show them for editing."""
    state = await run_in_threadpool(_read_state, prompts, form)
    saes = await run_in_threadpool(_searched, library, form.sae)
    try:
        with turn(request):
            work = write_prompts(engine, saes[0].run, form.topic, form.k, form.seed)
            written = await while_connected(request, work)
    except MonosemaError as error:
        return await _page(request, state.with_form(edit=True), engine, library, error)
    state = SearchState(tuple(map(Entry, written.positive)), tuple(map(Entry, written.negative)), form)
    return await _go(request, state, engine, library, prompts, edit=True)


async def _go(
    request: Request, state: SearchState, engine: Engine, library: Library, prompts: StoredPrompts, **changes: Any
) -> Response:
    """To the address of a search, once its long prompts are stored."""
    try:
        stored = await run_in_threadpool(_store_long, prompts, state)
    except MonosemaError as error:
        return await _page(request, state, engine, library, error)
    return RedirectResponse(f"{stored.href(**changes)}#{'written' if changes else 'found'}", 303)


async def _page(
    request: Request, state: SearchState, engine: Engine, library: Library, error: MonosemaError | None = None
) -> Response:
    form = state.form
    saes = await run_in_threadpool(_searched, library, form.sae)
    run = saes[0].run
    off, loaded, result = engine.why_off(run), engine.is_loaded(run), None
    asked = bool(state.positive or state.negative)
    if not off and not error and asked and not form.edit:
        try:
            with turn(request):
                result = await while_connected(request, _result(engine, saes, state))
        except MonosemaError as raised:
            error = raised
    elif not off and not loaded:
        engine.prepare(run)
    status = status_of(error) if error else 200
    page = PromptSearchPage(
        tabs=mode_tabs("prompts"),
        off=off,
        loaded=loaded or result is not None,
        problem=Problem(str(error), _ways_on(state, status)) if error else None,
        note=_note(state) if form.edit and not error else "",
        state=state,
        saes=sae_choices(saes),
        least=share_links(form.at_least, zero=False),
        most=share_links(form.at_most, zero=True),
        hides=hide_links(form.hide),
        orders=order_links(form.order),
        order_about=ORDERS[form.order][1],
        counts=count_links(form.k),
        next_seed=form.seed + 1 if form.topic and asked else form.seed,
        result=result,
        series_of={sae.name: sae.record.position for sae in run.saes},
        example=_example(form).href(),
    )
    headers = retry_headers(error) if error else None
    return know_again(request, render(request, "search/prompt_search.html", page, status, headers))


async def _result(engine: Engine, saes: list[OpenSAE], state: SearchState) -> SearchResult:
    form = state.form
    positive, negative = ([entry.text for entry in entries] for entries in (state.positive, state.negative))
    found = await _search(engine, saes, positive, negative, form.chat, form.criteria, form.order, SHOWN)
    return await run_in_threadpool(present, state, [sae.href[1:] for sae in saes], found)


async def _search(
    engine: Engine,
    saes: list[OpenSAE],
    positive: Sequence[str],
    negative: Sequence[str],
    chat: bool,
    criteria: Criteria,
    order: Order,
    most: int,
) -> Found:
    """Read the prompts one after the other, so that others get between them, and put them together."""
    if not positive:
        raise RefusedError(
            "There is no positive prompt: write at least one text that the features should be active in."
        )
    if max(len(positive), len(negative)) > MAX_PROMPTS:
        raise RefusedError(f"At most {MAX_PROMPTS} prompts of each kind are searched by: take some out.")
    readings = []
    for kind, texts in (("positive", positive), ("negative", negative)):
        for place, text in enumerate(texts, start=1):
            readings.append(await _read(engine, saes, f"The {kind} prompt {place}", Prompt(text, chat)))

    def put_together() -> Found:
        table = tabulate(saes, readings[: len(positive)], readings[len(positive) :])
        return find(saes, table, criteria, order, most)

    return await run_in_threadpool(put_together)


async def _read(engine: Engine, saes: list[OpenSAE], name: str, prompt: Prompt) -> Reading:
    """Read one prompt; what is wrong with it is said of it by name."""
    if len(prompt.text) > MAX_TEXT:
        raise RefusedError(f"{name} has {len(prompt.text):,} characters, at most {MAX_TEXT:,} can be read: shorten it.")
    try:
        return await engine.activations(saes, prompt)
    except RefusedError as error:
        raise RefusedError(f"{name} cannot be read. {error}") from None


def _searched(library: Library, names: list[str]) -> list[OpenSAE]:
    """The SAEs that are named, or all of the newest run."""
    saes = named_saes(library, names)
    return saes if names else list(saes[0].run.saes)


def _read_state(prompts: StoredPrompts, form: SearchForm) -> SearchState:
    """The prompts of a form, blank ones left out; 404 for one that is not stored."""

    def entries(texts: list[str], ids: list[str]) -> tuple[Entry, ...]:
        typed = [Entry(unix_lines(text)) for text in texts if text.strip()]
        return (*typed, *(Entry(load_text(prompts, name), name) for name in ids))

    return SearchState(entries(form.pos, form.pos_p), entries(form.neg, form.neg_p), form)


def _store_long(prompts: StoredPrompts, state: SearchState) -> SearchState:
    """When the prompts together are too long for an address, store those that are no short line."""

    def stored(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        kept = [entry for entry in entries if len(entry.text) <= SHORT]
        longer = [entry for entry in entries if SHORT < len(entry.text) <= MAX_TEXT]
        refused = [entry for entry in entries if len(entry.text) > MAX_TEXT]
        if refused:
            raise RefusedError(f"A prompt has {len(refused[0].text):,} characters, at most {MAX_TEXT:,} can be read.")
        return (*kept, *(Entry(entry.text, entry.id or prompts.save(entry.text)) for entry in longer))

    return SearchState(stored(state.positive), stored(state.negative), state.form) if state.long else state


def _note(state: SearchState) -> str:
    """What to know of prompts that the model has just written."""
    form = state.form
    if not form.topic:
        return ""
    missing = shortfall(len(state.positive), len(state.negative), form.k)
    written = (
        f"The model wrote these about “{form.topic}” and about other things. Change what does not fit, then search."
    )
    return f"{written} {missing}" if state.positive or state.negative else missing


def _ways_on(state: SearchState, status: int) -> list[Link]:
    """Where to go from a search that was not done."""
    ways = [Link("Try again", state.href())] if status in (429, 503) else []
    if state.form.chat:
        ways.append(Link("Read them as plain text", state.href(chat=False)))
    return ways


def _example(form: SearchForm) -> SearchState:
    positive, negative = EXAMPLE
    return SearchState(
        tuple(map(Entry, positive)), tuple(map(Entry, negative)), SearchForm.model_validate({"sae": form.sae})
    )
