"""Trying a text on one feature."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from backend.engine.messages import Prompt, PromptReading, values_of
from backend.html.characters import title_of
from backend.html.spans import UNCOUNTED, tokens_direction
from backend.html.tokens import TokenView, highlight
from backend.published.features import get_feature
from backend.web.dependencies import EngineDep, IndexDep, SAEDep
from backend.web.live import ask
from backend.web.prompt_body import PromptBody, num_of_template, uncounted

router = APIRouter(prefix="/api/v1/features", tags=["live"])


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
    whose: str
    """template or system where it is left out because it is of the chat template, or of the system message that this
    puts in; else ""."""
    why_out: str
    """The reason why it is left out, for a title; "" for one that counts."""


@dataclass(frozen=True)
class TriedTemplate:
    """The tokens of the chat template in a text."""

    num: int
    """Those that are not counted; with `template_tokens` those that are."""
    is_text: bool
    """Whether the text itself is the filled template."""


@dataclass(frozen=True)
class Tried:
    """One feature on a text."""

    tokens: list[TriedToken]
    direction: str
    """ltr or rtl, as most of the letters are."""
    highest: float
    share: float
    """Of its highest activation in the corpus."""
    template: TriedTemplate | None
    """None where there is no chat template around the text."""


@router.post("/{model}/{sae}/{index}/activations")
async def try_text(request: Request, sae: SAEDep, index: IndexDep, body: PromptBody, engine: EngineDep) -> Tried:
    """One feature's activation on every token of a text."""
    feature = await run_in_threadpool(get_feature, sae, index)
    reading = await ask(request, engine.activations, [sae], body.prompt)
    values = values_of(sae, reading, index)
    shown = highlight(reading.pieces, values, feature.max)
    highest = max(values, default=0.0)
    return Tried(
        tokens=_tokens(reading, body.prompt, shown),
        direction=tokens_direction(shown),
        highest=highest,
        share=highest / feature.max if feature.max > 0 else 0.0,
        template=TriedTemplate(num_of_template(reading, body.prompt), not body.chat) if any(reading.whose) else None,
    )


def _tokens(reading: PromptReading, prompt: Prompt, shown: Sequence[TokenView]) -> list[TriedToken]:
    rows = zip(reading.tokens, shown, reading.left_out, uncounted(reading, prompt), strict=True)
    return [
        TriedToken(
            token,
            view.text,
            view.mark,
            title_of(view.text),
            view.value,
            view.level,
            left_out,
            whose,
            UNCOUNTED[whose] if whose else "not counted" if left_out else "",
        )
        for token, view, left_out, whose in rows
    ]
