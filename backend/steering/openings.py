"""Examples to start with: the responses that were measured when the run was published."""

from dataclasses import dataclass

from backend.html.tokens import written_text
from backend.published.catalogue import OpenRun
from backend.published.features import FeatureSummary, get_summaries
from backend.steering.plan import Chip
from data.artifacts.responses import Demonstration, Responses


@dataclass(frozen=True)
class Opening:
    """A feature held after an opening, and the texts that the model wrote at temperature 0."""

    prompt: str
    chat: bool
    """Whether the prompt is a chat message."""
    chip: Chip
    new_tokens: int
    """Length of the texts."""
    baseline: str
    steered: str
    moved: str
    """The measure that makes it a response, in words."""


@dataclass(frozen=True)
class Openings:
    """The examples of a run, and how they were found."""

    examples: list[Opening]
    found: str
    """A sentence on how many they were chosen from, or why there are none."""


def openings(run: OpenRun) -> Openings:
    """The best of what the run measured of its features' effects on texts."""
    measured = Responses.from_json(run.record.responses)
    saes = {sae.name: sae for sae in run.saes}
    shown = [*measured.chats, *measured.openings]
    features = get_summaries(run, [saes[one.sae].row(one.index) for one in shown])
    return Openings([_opening(*pair) for pair in zip(shown, features, strict=True)], _found(measured))


def _opening(one: Demonstration, feature: FeatureSummary) -> Opening:
    baseline, steered = written_text(one.baseline.text), written_text(one.best.text)
    moved = f"moved {one.best.moved:.0%} toward the feature’s words"
    return Opening(one.opening, one.chat, Chip(feature, one.best_strength), one.new_tokens, baseline, steered, moved)


def _found(measured: Responses) -> str:
    if measured.why_none:
        return f"No feature was measured to turn a text to its words. {measured.why_none}"
    what = f"{measured.written} features wrote texts while they were held; {measured.responded} responded"
    if not measured.chats and not measured.openings:
        return f"When this run was published, {what}: none is good enough to start with."
    return f"When this run was published, {what}. {measured.rule}"
