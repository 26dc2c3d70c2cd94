"""What the labels of an SAE are worth by its judges, as its page says it."""

from dataclasses import dataclass
from typing import Any

from backend.html.formats import count, number, share
from backend.published.catalogue import OpenSAE
from backend.published.scores import judges_of, trust_text
from data.artifacts.scores import LEAST_RANDOM, TASK_NAMES


@dataclass(frozen=True)
class JudgeColumn:
    """A judge that can be trusted at some task."""

    name: str
    trust: str
    """How far, at the first of these tasks."""


@dataclass(frozen=True)
class Mean:
    """A mean score with its 95% interval."""

    text: str
    interval: str


@dataclass(frozen=True)
class TaskRow:
    """The mean scores at one task."""

    task: str
    means: list[Mean | None]
    """By each judge; None where it was not asked, or cannot be trusted."""


@dataclass(frozen=True)
class LabelSummary:
    """Scores of features that were drawn at random."""

    headline: str
    judges: list[JudgeColumn]
    rows: list[TaskRow]


def label_summary(sae: OpenSAE) -> LabelSummary | None:
    """Of an SAE; None where too few of its features were drawn, or where no judge can tell right labels from shuffled
    ones."""
    found = sae.run.record.corpus.get("score", {}).get("summary", {}).get(sae.name, [])
    trust = {(judge.name, task): trust for judge in judges_of(sae.run) for task, trust in judge.trust.items()}
    means = {(one["judge"], one["task"]): one for one in found}
    told = {place: one for place, one in means.items() if place in trust and trust[place].tells}
    judges = [judge.name for judge in judges_of(sae.run) if any(name == judge.name for name, _ in told)]
    tasks = [task for task in TASK_NAMES if any(name == task for _, name in told)]
    if not told:
        return None
    first = {judge: next(task for task in tasks if (judge, task) in told) for judge in judges}
    most = max(one["num"] for one in told.values())
    return LabelSummary(
        headline=f"{count(most)} labelled features drawn at random, beside those that pages lead with, were judged:",
        judges=[JudgeColumn(judge, trust_text(trust[judge, first[judge]])) for judge in judges],
        rows=[TaskRow(task.capitalize(), [_mean(told.get((judge, task))) for judge in judges]) for task in tasks],
    )


def why_no_summary(sae: OpenSAE) -> str:
    """Why there is none, as a sentence that says what would bring it; "" where features were not judged at all."""
    scored = sae.run.record.corpus.get("score", {})
    judged = scored.get("saes", {}).get(sae.name)
    if not judged or not judged["num_features"]:
        return ""
    if scored.get("summary", {}).get(sae.name):
        return "No judge of this run can tell right labels from shuffled ones: give it another (score.judges)."
    num, random = judged["num_features"], judged.get("num_random")  # older runs do not say how many are random
    which = f"{count(random)} of these" if random is not None else "at most half of these"
    return (
        f"Not known: {count(num)} of its labelled features were judged, {which} drawn at random, and a mean needs "
        f"{LEAST_RANDOM} of those. A run with score.features={2 * LEAST_RANDOM * len(sae.run.saes)} or more has them."
    )


def _mean(one: dict[str, Any] | None) -> Mean | None:
    if one is None:
        return None
    low, high = (number(100 * one[name], 2) for name in ("low", "high"))
    return Mean(share(one["mean"], 2), f"{low}–{high}")
