"""Attribution: which features caused an output."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from backend.attribution.ranking import MAX_ABLATIONS, SAEAttributions, join
from backend.engine.messages import Outcome, Question
from backend.html.tokens import token_text
from backend.published.lookup import named_saes
from backend.web.dependencies import EngineDep, LibraryDep
from backend.web.live import ask
from backend.web.prompt_body import PromptBody, ReadToken, read_tokens

router = APIRouter(tags=["live"])


class AttributionBody(PromptBody):
    """A text, and an output of the model on it."""

    target: str = Field(max_length=200, description="The next token to explain: its text, or #id.")
    minus: str = Field("", max_length=200, description="A token whose logit is subtracted; none by default.")
    position: int | None = Field(None, ge=0, description="Token after which the target comes; the last by default.")
    saes: list[str] = Field(
        [], max_length=8, description="model/name each, all of one run; by default the one that explains most"
    )
    k: int = Field(50, ge=0, le=MAX_ABLATIONS, description="Features of each SAE to ablate: the largest attributions.")


@dataclass(frozen=True)
class TargetToken:
    """A token of the target."""

    token: int
    text: str


@dataclass(frozen=True)
class Attributions:
    """Attribution of an output to the features of a text."""

    tokens: list[ReadToken]
    position: int
    """Token after which the target comes."""
    target: TargetToken
    minus: TargetToken | None
    others: list[TargetToken]
    """Tokens that are written nearly as the target: with a space before or without, or with other capitals."""
    minus_others: list[TargetToken]
    """The same of `minus`."""
    value: float
    """The logit of the target, less that of `minus`."""
    saes: list[SAEAttributions]


@router.post("/api/v1/attribution")
async def attribute(request: Request, body: AttributionBody, engine: EngineDep, library: LibraryDep) -> Attributions:
    """Features by activation, by attribution to an output and by the effect of ablating them.

    Attribution (activation times gradient) costs one pass for all features and chooses which `k` are ablated, one at a
    time and exactly. Ends when the connection is closed.
    """
    saes = await run_in_threadpool(named_saes, library, body.saes)
    question = Question(body.target, body.minus, body.position, body.k)
    outcome = await ask(request, engine.explain, saes, body.prompt, question)

    def describe() -> list[SAEAttributions]:
        return [join(sae, outcome.attributed[sae.name], body.k) for sae in saes]

    return _answer(outcome, await run_in_threadpool(describe))


def _answer(outcome: Outcome, saes: list[SAEAttributions]) -> Attributions:
    return Attributions(
        tokens=read_tokens(outcome),
        position=outcome.position,
        target=TargetToken(outcome.target, token_text(outcome.target_piece)),
        minus=None if outcome.minus is None else TargetToken(outcome.minus, token_text(outcome.minus_piece)),
        others=[TargetToken(one.token, token_text(one.piece)) for one in outcome.others],
        minus_others=[TargetToken(one.token, token_text(one.piece)) for one in outcome.minus_others],
        value=outcome.value,
        saes=saes,
    )
