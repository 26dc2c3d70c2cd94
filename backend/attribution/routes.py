"""The page of one example, coloured by what made the feature fire or by what it changes."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from backend.attribution.example_api import _causes, _effects, _find
from backend.attribution.example_page import example_page
from backend.attribution.examples import Causes, Effects, Reading, StoredExample
from backend.engine.engine import Engine
from backend.html.templates import render
from backend.published.cards import sae_card
from backend.published.features import Feature
from backend.web.clients import know_again, turn, while_connected
from backend.web.dependencies import EngineDep, IndexDep, SAEDep, SettingsDep
from backend.web.problems import retry_headers, status_of
from data.artifacts.features import ExampleKind
from data.errors import MonosemaError

router = APIRouter(include_in_schema=False)


class ExampleQuery(BaseModel):
    """The query string of an example's page."""

    kind: ExampleKind = "top"
    rank: int = Field(0, ge=0)
    reading: Reading = "causes"


@router.get("/{model}/{sae}/{index}/example")
async def show_example(
    request: Request,
    sae: SAEDep,
    index: IndexDep,
    asked: Annotated[ExampleQuery, Query()],
    engine: EngineDep,
    settings: SettingsDep,
) -> Response:
    """One example, coloured by what made the feature fire or by what it changes."""
    feature, example = await run_in_threadpool(_find, sae, index, asked.kind, asked.rank, settings.max_prompt_tokens)
    card = await run_in_threadpool(sae_card, sae)
    if off := engine.why_off(sae.run):
        return render(request, "attribution/example.html", example_page(feature, card, example, asked.reading, off=off))
    try:
        with turn(request):
            found = await while_connected(request, _read(engine, sae, feature, example, asked.reading))
    except MonosemaError as error:
        page = example_page(feature, card, example, asked.reading, problem=str(error))
        answer = render(request, "attribution/example.html", page, status_of(error), retry_headers(error))
        return know_again(request, answer)
    page = example_page(feature, card, example, asked.reading, found=found)
    return know_again(request, render(request, "attribution/example.html", page))


async def _read(
    engine: Engine, sae: SAEDep, feature: Feature, example: StoredExample, reading: Reading
) -> Causes | Effects:
    work = _causes if reading == "causes" else _effects
    return await work(engine, sae, feature, example)
