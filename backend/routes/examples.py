"""Further readings of one stored example, worked out on request: what made the feature fire, and what it changes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from backend.cards import sae_card
from backend.clients import know_again
from backend.colouring import (
    Causes,
    Effects,
    Reading,
    StoredExample,
    find_example,
    present_causes,
    present_effects,
)
from backend.connections import while_connected
from backend.dependencies import EngineDep, IndexDep, SAEDep, SettingsDep
from backend.engine import Engine
from backend.errors import not_found, retry_headers, status_of
from backend.example_page import example_page
from backend.queries import Feature, get_feature
from backend.templates import render
from backend.turns import turn
from data.errors import MonosemaError
from data.records import ExampleKind

router = APIRouter(tags=["live"])
pages = APIRouter(include_in_schema=False)


def named_example(
    sae: SAEDep,
    index: IndexDep,
    kind: Annotated[ExampleKind, PathParameter(description="Which examples.")],
    rank: Annotated[int, PathParameter(ge=0, description="Its place among them, from 0.")],
    settings: SettingsDep,
) -> tuple[Feature, StoredExample]:
    """The feature and the example that an address names."""
    return _find(sae, index, kind, rank, settings.max_prompt_tokens)


NamedExample = Annotated[tuple[Feature, StoredExample], Depends(named_example)]


@router.get("/api/v1/features/{model}/{sae}/{index}/examples/{kind}/{rank}/causes")
async def read_causes(request: Request, sae: SAEDep, named: NamedExample, engine: EngineDep) -> Causes:
    """Which tokens made the feature fire: its activation's gradient times each token's embedding."""
    with turn(request):
        return await while_connected(request, _causes(engine, sae, *named))


@router.get("/api/v1/features/{model}/{sae}/{index}/examples/{kind}/{rank}/effects")
async def read_effects(request: Request, sae: SAEDep, named: NamedExample, engine: EngineDep) -> Effects:
    """Which next tokens the feature changes: log-probabilities with it and without it."""
    with turn(request):
        return await while_connected(request, _effects(engine, sae, *named))


class ExampleQuery(BaseModel):
    """The query string of an example's page."""

    kind: ExampleKind = "top"
    rank: int = Field(0, ge=0)
    reading: Reading = "causes"


@pages.get("/{model}/{sae}/{index}/example")
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


def _find(sae: SAEDep, index: int, kind: ExampleKind, rank: int, limit: int) -> tuple[Feature, StoredExample]:
    feature = get_feature(sae, index)
    example = find_example(sae, feature, kind, rank, limit)
    if example is None:
        raise not_found(
            f"{feature.name} has {feature.num_examples[kind]} examples of kind '{kind}', from 0; there is no {rank}."
        )
    return feature, example


async def _read(
    engine: Engine, sae: SAEDep, feature: Feature, example: StoredExample, reading: Reading
) -> Causes | Effects:
    work = _causes if reading == "causes" else _effects
    return await work(engine, sae, feature, example)


async def _causes(engine: Engine, sae: SAEDep, feature: Feature, example: StoredExample) -> Causes:
    attributor = engine.attributor
    fired = await engine.steps(sae.run, lambda: attributor.fired(sae, feature.index, example.upto), [sae])
    return present_causes(example, fired)


async def _effects(engine: Engine, sae: SAEDep, feature: Feature, example: StoredExample) -> Effects:
    attributor, place = engine.attributor, len(example.before) + example.place
    changed = await engine.steps(sae.run, lambda: attributor.changed(sae, feature.index, example.all, place), [sae])
    return present_effects(example, changed)
