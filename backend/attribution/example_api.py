"""Further readings of one stored example for programs: what made the feature fire, and what it changes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi import Path as PathParameter

from backend.attribution.examples import Causes, Effects, StoredExample, find_example, present_causes, present_effects
from backend.engine.engine import Engine
from backend.exceptions import not_found
from backend.published.features import Feature, get_feature
from backend.web.clients import turn, while_connected
from backend.web.dependencies import EngineDep, IndexDep, SAEDep, SettingsDep
from data.artifacts.features import ExampleKind

router = APIRouter(tags=["live"])


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


def _find(sae: SAEDep, index: int, kind: ExampleKind, rank: int, limit: int) -> tuple[Feature, StoredExample]:
    feature = get_feature(sae, index)
    example = find_example(sae, feature, kind, rank, limit)
    if example is None:
        raise not_found(
            f"{feature.name} has {feature.num_examples[kind]} examples of kind '{kind}', from 0; there is no {rank}."
        )
    return feature, example


async def _causes(engine: Engine, sae: SAEDep, feature: Feature, example: StoredExample) -> Causes:
    attributor = engine.attributor
    fired = await engine.steps(sae.run, lambda: attributor.fired(sae, feature.index, example.upto), [sae])
    return present_causes(example, fired)


async def _effects(engine: Engine, sae: SAEDep, feature: Feature, example: StoredExample) -> Effects:
    attributor, place = engine.attributor, len(example.before) + example.place
    changed = await engine.steps(sae.run, lambda: attributor.changed(sae, feature.index, example.all, place), [sae])
    return present_effects(example, changed)
