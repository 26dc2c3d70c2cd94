"""The page of one example, coloured by what made the feature fire or by what it changes."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from backend.attribution.example_page import ExampleState, example_page_of
from backend.attribution.readings import Causes, Effects, compute_causes, compute_effects, find_example
from backend.published.cards import sae_card
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
    feature, example = await run_in_threadpool(
        find_example, sae, index, asked.kind, asked.rank, settings.max_prompt_tokens
    )
    work: Callable[..., Coroutine[Any, Any, Causes | Effects]]
    work = compute_causes if asked.reading == "causes" else compute_effects
    answer: Answer[Causes | Effects] = await ask_for_page(
        request, engine, sae.run, lambda: work(engine, sae, feature, example)
    )
    card = await run_in_threadpool(sae_card, sae)
    page = example_page_of(feature, card, example, asked.reading, answer)
    return respond(request, "attribution/example.html", page, answer)
