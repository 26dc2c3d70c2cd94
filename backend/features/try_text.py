"""Trying a text on one feature."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from backend.engine.limits import MAX_PROMPT_CHARACTERS
from backend.engine.messages import Prompt, values_of
from backend.html.characters import title_of
from backend.html.spans import tokens_direction
from backend.html.tokens import highlight
from backend.published.features import get_feature
from backend.texts import Typed
from backend.web.dependencies import EngineDep, IndexDep, SAEDep
from backend.web.live import ask

router = APIRouter(prefix="/api/v1/features", tags=["live"])


class TryBody(Typed):
    """A text to read."""

    text: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
    chat: bool = Field(default=False, description="Put the text into the model's chat template.")


@dataclass(frozen=True)
class TriedToken:
    """A token as the model reads it, with the feature's activation."""

    token: int
    text: str
    mark: str
    """See backend.html.tokens.TokenText."""
    about: str
    """What is unusual in its text, for a title; "" for nothing."""
    value: float
    level: int
    """Step of the highlight, 0 to 11 of the feature's maximum in the corpus; -1 for none."""
    left_out: bool
    """BOS, an attention sink, or a token of the chat template: not counted."""


@dataclass(frozen=True)
class Tried:
    """One feature on a text."""

    tokens: list[TriedToken]
    direction: str
    """ltr or rtl, as most of the letters are."""
    highest: float
    share: float
    """Of its highest activation in the corpus."""


@router.post("/{model}/{sae}/{index}/activations")
async def try_text(request: Request, sae: SAEDep, index: IndexDep, body: TryBody, engine: EngineDep) -> Tried:
    """One feature's activation on every token of a text."""
    feature = await run_in_threadpool(get_feature, sae, index)
    reading = await ask(request, engine.activations, [sae], Prompt(body.text, body.chat))
    values = values_of(sae, reading, index)
    shown = highlight(reading.pieces, values, feature.max)
    tokens = [
        TriedToken(token, view.text, view.mark, title_of(view.text), view.value, view.level, left_out)
        for token, view, left_out in zip(reading.tokens, shown, reading.left_out, strict=True)
    ]
    highest = max(values, default=0.0)
    return Tried(tokens, tokens_direction(shown), highest, highest / feature.max if feature.max > 0 else 0.0)
