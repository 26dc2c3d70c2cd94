"""The API for prompts: the features that a text activates, and texts under short addresses."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from backend.exceptions import NotFoundError
from backend.html.address import AppPath
from backend.prompts.ranking import RANKS, ActiveFeature, Rank, gather, rank
from backend.prompts.state import MAX_SAES, PromptState
from backend.prompts.store import StoredPrompts
from backend.published.lookup import named_saes
from backend.texts import Typed
from backend.web.dependencies import EngineDep, LibraryDep
from backend.web.live import ask
from backend.web.prompt_body import PromptBody, ReadToken, Text, read_tokens

router = APIRouter(tags=["live"])


class ActivationsBody(PromptBody):
    """A text to read."""

    saes: list[str] = Field(
        [],
        max_length=MAX_SAES,
        description="model/name each, all of one run; by default the one that explains most variance",
    )
    rank: Rank = Field("max", description="; ".join(f"{name}: {about}" for name, (_, about) in RANKS.items()))
    hide_density: float = Field(
        1.0, ge=0, le=1, description="Leave out features active on a larger share of the corpus."
    )
    common_last: bool = Field(
        False,
        description="List features on more than 5% of tokens, or mostly at the start of a text, after all others.",
    )
    limit: int = Field(40, ge=1, le=1000, description="Features overall, of each SAE.")
    per_token: int = Field(12, ge=0, le=100, description="Features of each token, of each SAE.")


@dataclass(frozen=True)
class SAEActivations:
    """The active features of one SAE, best first."""

    sae: str
    total: int
    hidden: int
    overall: list[ActiveFeature]
    by_token: list[list[ActiveFeature]]


@dataclass(frozen=True)
class Activations:
    """The features that a text activates."""

    tokens: list[ReadToken]
    saes: list[SAEActivations]


@router.post("/api/v1/activations")
async def read_activations(
    request: Request, body: ActivationsBody, engine: EngineDep, library: LibraryDep
) -> Activations:
    """The active features of a text, for every token and overall."""
    saes = await run_in_threadpool(named_saes, library, body.saes)
    reading = await ask(request, engine.activations, saes, body.prompt)

    def describe() -> list[SAEActivations]:
        activity = gather(saes, reading)
        ranked = [
            (sae.href[1:], rank(activity, body.rank, body.hide_density, sae, common_last=body.common_last))
            for sae in saes
        ]
        return [
            SAEActivations(name, r.total, r.hidden, r.overall(body.limit), r.by_token(body.per_token))
            for name, r in ranked
        ]

    return Activations(read_tokens(reading), await run_in_threadpool(describe))


class StoreBody(Typed):
    """A text to store."""

    text: Text


@dataclass(frozen=True)
class StoredPrompt:
    """A text under a short address."""

    id: str
    text: str
    href: AppPath
    """The prompt page that reads it."""


async def get_prompts(request: Request) -> StoredPrompts:
    """The prompts that are too long for an address."""
    return cast(StoredPrompts, request.app.state.prompts)


PromptsDep = Annotated[StoredPrompts, Depends(get_prompts)]


@router.post("/api/v1/prompts", status_code=201)
def store_prompt(body: StoreBody, prompts: PromptsDep) -> StoredPrompt:
    """Store a text under an address that never changes; the same text always has the same."""
    return _stored(prompts, prompts.save(body.text))


@router.get("/api/v1/prompts/{name}")
def stored_prompt(name: str, prompts: PromptsDep) -> StoredPrompt:
    """A stored text by its id."""
    return _stored(prompts, name)


def _stored(prompts: StoredPrompts, name: str) -> StoredPrompt:
    return StoredPrompt(name, load_text(prompts, name), PromptState(p=name).href())


def load_text(prompts: StoredPrompts, name: str) -> str:
    """A stored text. Raises NotFoundError."""
    text = prompts.load(name)
    if text is None:
        raise NotFoundError(f"No prompt is stored as '{name}'. Type the text on the prompt page.")
    return text
