"""The API of completeness: what was measured, the concepts of an SAE, and a list of one's own."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from backend.completeness.address import Shown
from backend.completeness.own import answer_own
from backend.completeness.page import concept_rows
from backend.completeness.rows import ConceptRow
from backend.completeness.store import MAX_LIST_CHARACTERS, MAX_OWN_CONCEPTS, parse_own
from backend.exceptions import NotFoundError
from backend.published.concepts import completeness_of
from backend.published.lookup import named_saes
from backend.texts import Typed
from backend.web.dependencies import EngineDep, LibraryDep, RunDep, SAEDep, VerdictsDep
from backend.web.live import ask
from data.artifacts.completeness import CompletenessCounts, SAECounts
from data.concepts.specificity import THRESHOLDS, Thresholds

router = APIRouter(prefix="/api/v1/completeness", tags=["completeness"])


@dataclass(frozen=True)
class Completeness:
    """What was measured of a run."""

    run: str
    thresholds: Thresholds
    found: CompletenessCounts


@dataclass(frozen=True)
class ConceptPage:
    """Some concepts of an SAE, the most frequent first."""

    total: int
    page: int
    concepts: list[ConceptRow]


@dataclass(frozen=True)
class OwnConcepts:
    """A list of one's own in one SAE."""

    concepts: list[ConceptRow]
    """In the order of the list."""
    num_tokens: int
    """In which they were counted: the first ones of the training documents."""
    num_training_tokens: int
    """Of all training documents."""
    found: SAECounts
    """Shares by how often concepts occur, with a logistic fit where there are enough of both kinds."""


class OwnListBody(Typed):
    """A list of concepts."""

    text: Annotated[str, Field(max_length=MAX_LIST_CHARACTERS)] = Field(
        description=f"One concept a line, {MAX_OWN_CONCEPTS} at most; '# title', '> a prompt that ends in {{}}'."
    )
    sae: str = Field("", max_length=200, description="model/name; by default the one that explains most variance")


@router.get("")
def get_completeness(run: RunDep) -> Completeness:
    """How many concepts of each list have a feature of their own, by SAE, with shares by frequency and their fit."""
    return Completeness(run.name, THRESHOLDS, completeness_of(run))


@router.get("/{model}/{sae}")
def get_concepts(
    sae: SAEDep,
    verdicts: VerdictsDep,
    kind: Annotated[str, Query(alias="list", max_length=64, description="Name of a list; all by default.")] = "",
    show: Shown = "all",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ConceptPage:
    """The concepts of the run's lists, each with its own feature in an SAE, or the one that comes nearest."""
    names = [one.name for one in completeness_of(sae.run).lists]
    if kind and kind not in names:
        raise NotFoundError(f"There is no list '{kind}' in run '{sae.run.name}': use one of {', '.join(names)}.")
    rows, total = concept_rows(sae, verdicts.of(sae), kind, show, page, per_page)
    return ConceptPage(total, page, rows)


@router.post("")
async def read_own_list(request: Request, body: OwnListBody, engine: EngineDep, library: LibraryDep) -> OwnConcepts:
    """A list of one's own, read by the model: each concept with its own feature, or the one that comes nearest, and how
    often it occurs."""
    content = await run_in_threadpool(parse_own, body.text)
    sae = (await run_in_threadpool(named_saes, library, [body.sae] if body.sae else []))[0]
    reading = await ask(request, engine.concepts, sae, content)
    answer = await run_in_threadpool(answer_own, sae, "", content, reading, {})
    return OwnConcepts(answer.rows, answer.num_tokens, answer.num_training_tokens, answer.found)
