"""The API for further readings of one stored example: what made the feature fire, and what it changes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi import Path as PathParameter

from backend.attribution.readings import Causes, Effects, StoredExample, compute_causes, compute_effects, find_example
from backend.attribution.stored import Stored, find_stored
from backend.published.features import Feature
from backend.web.dependencies import EngineDep, IndexDep, SAEDep, SettingsDep
from backend.web.live import ask
from data.artifacts.features import ExampleKind

router = APIRouter(tags=["live"])


def named_example(
    sae: SAEDep,
    index: IndexDep,
    kind: Annotated[ExampleKind, PathParameter(description="Kind of examples.")],
    rank: Annotated[int, PathParameter(ge=0, description="Rank among the examples of its kind, from 0.")],
    settings: SettingsDep,
) -> tuple[Feature, StoredExample]:
    """The feature and the example that an address names."""
    return find_example(sae, index, kind, rank, settings.max_prompt_tokens)


def published_readings(
    sae: SAEDep, named: Annotated[tuple[Feature, StoredExample], Depends(named_example)]
) -> Stored | None:
    """What the run published of the example."""
    feature, example = named
    stored = find_stored(sae, feature, example.kind, example.rank)
    return stored[1] if stored else None


PublishedReadings = Annotated[Stored | None, Depends(published_readings)]
NamedExample = Annotated[tuple[Feature, StoredExample], Depends(named_example)]


@router.get("/api/v1/features/{model}/{sae}/{index}/examples/{kind}/{rank}/causes")
async def read_causes(
    request: Request, sae: SAEDep, named: NamedExample, stored: PublishedReadings, engine: EngineDep
) -> Causes:
    """The tokens that made the feature fire: its activation's gradient times each token's embedding."""
    if stored is not None and stored.causes is not None:
        return stored.causes
    return await ask(request, compute_causes, engine, sae, *named)


@router.get("/api/v1/features/{model}/{sae}/{index}/examples/{kind}/{rank}/effects")
async def read_effects(
    request: Request, sae: SAEDep, named: NamedExample, stored: PublishedReadings, engine: EngineDep
) -> Effects:
    """The next tokens that the feature changes: log-probabilities with it and without it."""
    if stored is not None and (stored.effects.coloured or engine.why_off(sae.run)):
        return stored.effects
    return await ask(request, compute_effects, engine, sae, *named)
