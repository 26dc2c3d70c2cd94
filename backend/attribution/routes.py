"""The page of one example, coloured by what made the feature fire or by what it changes."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from backend.attribution.example_page import ExampleState, example_page_of
from backend.attribution.readings import Causes, Effects, compute_causes, compute_effects, find_example
from backend.attribution.stored import find_stored
from backend.html.templates import render
from backend.published.cards import sae_card
from backend.published.features import get_feature
from backend.web.dependencies import EngineDep, IndexDep, SAEDep, SettingsDep
from backend.web.live import Answer, ask_for_page, respond

router = APIRouter(include_in_schema=False)


@router.get("/{model}/{sae}/{index}/example")
async def show_example(
    request: Request,
    sae: SAEDep,
    index: IndexDep,
    asked: Annotated[ExampleState, Query()],
    engine: EngineDep,
    settings: SettingsDep,
) -> Response:
    """One example, coloured by what made the feature fire or by what it changes."""
    card = await run_in_threadpool(sae_card, sae)
    feature = await run_in_threadpool(get_feature, sae, index)
    stored = None if asked.live else await run_in_threadpool(find_stored, sae, feature, asked.kind, asked.rank)
    if stored is not None and (result := stored[1].of(asked.reading)) is not None:
        page = example_page_of(feature, card, stored[0], asked.reading, Answer(engine.why_off(sae.run), True, result))
        return render(request, "attribution/example.html", page)
    _, example = await run_in_threadpool(find_example, sae, index, asked.kind, asked.rank, settings.max_prompt_tokens)
    work: Callable[..., Coroutine[Any, Any, Causes | Effects]]
    work = compute_causes if asked.reading == "causes" else compute_effects
    answer: Answer[Causes | Effects] = await ask_for_page(
        request, engine, sae.run, lambda: work(engine, sae, feature, example)
    )
    page = example_page_of(feature, card, example, asked.reading, answer)
    return respond(request, "attribution/example.html", page, answer)
