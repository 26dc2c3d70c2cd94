"""The API for search by prompts, and for prompts that the model writes for a topic."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from backend.published.lookup import named_saes
from backend.search.asking import search_prompts, searched_saes
from backend.search.prompts import MATCH_ORDERS, Criteria, Match, MatchOrder, Relaxed, Step
from backend.search.prompts_page import MAX_PROMPTS
from backend.search.topics import MAX_TOPIC, MAX_TOPIC_PROMPTS, TopicPrompts, write_prompts
from backend.texts import Typed
from backend.web.dependencies import EngineDep, LibraryDep
from backend.web.live import ask
from backend.web.prompt_body import Text

router = APIRouter(tags=["live"])


class SearchBody(Typed):
    """Prompts to search by."""

    positive: list[Text] = Field(min_length=1, max_length=MAX_PROMPTS)
    negative: list[Text] = Field([], max_length=MAX_PROMPTS)
    saes: list[str] = Field(
        [], max_length=16, description="model/name each, all of one run; all of the newest run by default"
    )
    chat: bool = Field(False, description="Put each prompt into the model's chat template.")
    at_least: float = Field(
        Criteria.at_least, ge=0, le=1, description="Share of the feature's max that it has in every positive prompt."
    )
    at_most: float = Field(
        Criteria.at_most, ge=0, le=1, description="Share of the feature's max that it may have in a negative prompt."
    )
    hide_density: float = Field(1.0, ge=0, le=1, description="Leave out features active on more of the corpus.")
    minor: bool = Field(False, description="Find rare and negligible features too, see the lists of features.")
    order: MatchOrder = Field(
        "rare", description="; ".join(f"{name}: {about}" for name, (_, about) in MATCH_ORDERS.items())
    )
    limit: int = Field(50, ge=1, le=1000)


@dataclass(frozen=True)
class SearchAnswer:
    """The result of a search by prompts."""

    total: int
    hidden: int
    features: list[Match]
    steps: list[Step]
    relaxed: list[Relaxed]


@router.post("/api/v1/search")
async def search_by_prompts(request: Request, body: SearchBody, engine: EngineDep, library: LibraryDep) -> SearchAnswer:
    """Features active in all positive prompts and in no negative one; when there is none, what to relax."""
    saes = await run_in_threadpool(searched_saes, library, body.saes)
    criteria = Criteria(body.at_least, body.at_most, body.hide_density)
    found = await ask(
        request, search_prompts, engine, saes, body.positive, body.negative, body.chat, criteria, body.order,
        body.limit, body.minor,
    )  # fmt: skip
    return SearchAnswer(found.total, found.hidden, found.matches, found.steps, found.relaxed)


class TopicBody(Typed):
    """A topic to write prompts for."""

    topic: str = Field(max_length=MAX_TOPIC)
    k: int = Field(5, ge=1, le=MAX_TOPIC_PROMPTS, description="Prompts about it, and as many about other things.")
    seed: int = Field(0, ge=0, lt=2**31)
    sae: str = Field("", description="model/name of an SAE of the model to ask; the newest run's by default")


@router.post("/api/v1/prompts/for-topic")
async def prompts_for_topic(request: Request, body: TopicBody, engine: EngineDep, library: LibraryDep) -> TopicPrompts:
    """Prompts about a topic, and about other things for contrast, written by the model itself."""
    run = (await run_in_threadpool(named_saes, library, [body.sae] if body.sae else []))[0].run
    return await ask(request, write_prompts, engine, run, body.topic, body.k, body.seed)
