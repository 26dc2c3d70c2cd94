"""The prompt page: its context."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.attribution.section import AttributionSection
from backend.engine.limits import MAX_PROMPT_CHARACTERS
from backend.html.formats import share
from backend.html.page import Link, Page
from backend.prompts.ranking import RANKS, Rank
from backend.prompts.result import PromptResult
from backend.prompts.state import PromptState
from backend.published.cards import metric_text
from backend.published.catalogue import OpenSAE
from backend.published.features import FeatureSummary
from backend.published.lookup import best_reading
from backend.web.live import Answer, Problem

HIDE_CHOICES = (0.01, 0.05, 0.2, 1.0)
"""Features active on more than this share of the corpus's tokens are hidden; 1 shows all."""
EXAMPLE_PROMPTS = (
    "He studied at the University of Oxford before the war.",
    "The river flows north through the valley towards the sea.",
    "Her third album was released in September 1998.",
)


@dataclass(frozen=True)
class SAEChoice:
    """An SAE to read with."""

    value: str
    """model/name"""
    name: str
    series: int
    chosen: bool
    best: str
    """The explained variance, of the SAE of the run that has the highest; else ""."""


@dataclass(frozen=True)
class PromptPage(Page):
    """prompts/prompt.html: type text, see which features are active."""

    off: str
    """The reason why the model is not available; "" when it is."""
    loaded: bool
    """Whether the model is in memory: otherwise the first answer waits for it to load."""
    problem: Problem | None
    """The reason why this prompt was not read."""
    model_name: str
    """Of the language model."""
    state: PromptState
    saes: list[SAEChoice]
    """The SAEs of the run."""
    runs: list[Link]
    """The same prompt in other runs."""
    ranks: list[Link]
    """Ways to rank: `text` is shown, `href` is the value."""
    rank_about: str
    """The explanation of the chosen ranking."""
    hides: list[Link]
    """Choices of `hide`, likewise."""
    max_tokens: int
    max_characters: int
    """Of a text."""
    focus: FeatureSummary | None
    """The chosen feature."""
    result: PromptResult | None
    attribution: AttributionSection | None
    """The features that caused an output; None without a result."""
    examples: list[Link]
    """Prompts to start from."""


def prompt_page_of(
    state: PromptState,
    saes: Sequence[OpenSAE],
    runs: list[Link],
    max_tokens: int,
    focus: FeatureSummary | None,
    answer: Answer[Any],
    result: PromptResult | None,
    attribution: AttributionSection | None,
) -> PromptPage:
    """The page's context."""
    plain = Link("Read it as plain text", state.href(chat=False)) if state.chat else None
    return PromptPage(
        off=answer.off,
        loaded=answer.loaded,
        problem=answer.problem(state.href(), plain),
        model_name=saes[0].run.model_name,
        state=state,
        saes=sae_choices(saes),
        runs=runs,
        ranks=rank_links(state.rank),
        rank_about=RANKS[state.rank][1],
        hides=hide_links(state.hide),
        max_tokens=max_tokens,
        max_characters=MAX_PROMPT_CHARACTERS,
        focus=focus,
        result=result,
        attribution=attribution,
        examples=[Link(text, state.href(text=text, p="", token=None)) for text in EXAMPLE_PROMPTS],
    )


def sae_choices(chosen: Sequence[OpenSAE]) -> list[SAEChoice]:
    """The SAEs of the run, for a row of boxes."""
    names, run = {sae.name for sae in chosen}, chosen[0].run
    best = metric_text(best_reading(run), "explained_variance") if len(run.saes) > 1 else None
    return [
        SAEChoice(
            value=sae.href[1:],
            name=sae.name,
            series=sae.record.position,
            chosen=sae.name in names,
            best=best or "" if sae is best_reading(run) else "",
        )
        for sae in run.saes
    ]


def rank_links(chosen: Rank) -> list[Link]:
    """Ways to rank, for a select."""
    return [Link(title, value, value == chosen) for value, (title, _) in RANKS.items()]


def hide_links(chosen: float) -> list[Link]:
    """Choices of what is hidden, for a select."""
    names = {value: f"on more than {value:.0%} of tokens" for value in HIDE_CHOICES} | {1.0: "none"}
    if chosen not in names:
        names[chosen] = f"on more than {share(chosen, 2)} of tokens"
    return [Link(name, f"{value:g}", value == chosen) for value, name in sorted(names.items())]
