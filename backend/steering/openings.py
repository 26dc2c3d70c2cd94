"""Examples to start with: the responses that were measured when the run was published."""

from dataclasses import dataclass
from typing import Any

from backend.html.tokens import visible_text, written_text
from backend.published.catalogue import OpenRun
from backend.published.features import FeatureSummary, get_summaries
from backend.steering.plan import Chip


@dataclass(frozen=True)
class Opening:
    """A feature held after an opening, and the texts that the model wrote at temperature 0."""

    prompt: str
    chip: Chip
    new_tokens: int
    """Length of the texts."""
    baseline: str
    steered: str
    counted: str
    """The counts that make it a response, in words."""


@dataclass(frozen=True)
class Openings:
    """The examples of a run, and how they were found."""

    examples: list[Opening]
    found: str
    """A sentence on how many they were chosen from, or why there are none."""


def openings(run: OpenRun) -> Openings:
    """The best of what the run measured of its features' effects on texts."""
    measured = run.record.responses
    saes = {sae.name: sae for sae in run.saes}
    features = get_summaries(run, [saes[one["sae"]].row(one["index"]) for one in measured["best"]])
    new_tokens = run.record.recipe.get("respond", {}).get("new_tokens", 0)
    examples = [_opening(one, f, new_tokens) for one, f in zip(measured["best"], features, strict=True)]
    return Openings(examples, _found(measured))


def _opening(one: dict[str, Any], feature: FeatureSummary, new_tokens: int) -> Opening:
    counts = [times(one[name]) for name in ("steered_count", "baseline_count")]
    counted = f"wrote “{visible_text(one['word'])}” {counts[0]}, the baseline {counts[1]}"
    chip = Chip(feature, one["strength"])
    baseline, steered = written_text(one["baseline"]), written_text(one["steered"])
    return Opening(one["opening"], chip, new_tokens, baseline, steered, counted)


def times(count: int) -> str:
    """A number of times, in words."""
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _found(measured: dict[str, Any]) -> str:
    if measured["why_none"]:
        return f"No feature was measured to turn a text to its word. {measured['why_none']}"
    what = f"{measured['written']} texts were written with a feature held; {measured['responded']} responded"
    if not measured["best"]:
        return f"When this run was published, {what}: none is good enough to start with."
    shown = len(measured["best"])
    rest = f" The best {shown} are shown." if shown < measured["responded"] else ""
    return f"When this run was published, {what}: the feature’s own word came at least twice more than without.{rest}"
