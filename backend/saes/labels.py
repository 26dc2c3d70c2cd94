"""What the labels of an SAE are worth by its judges, as its page says it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.html.formats import count, share
from backend.published.catalogue import OpenSAE
from backend.published.scores import judges_of, trust_text
from data.artifacts.scores import TASK_NAMES, Trust


@dataclass(frozen=True)
class JudgeRow:
    """The mean scores by one judge."""

    judge: str
    trust: str
    """How far it can be trusted where it is asked for the first of the scores."""
    texts: list[str]
    """One for each task; "–" where it was not asked."""


@dataclass(frozen=True)
class LabelSummary:
    """Scores of features that were drawn at random."""

    headline: str
    tasks: list[str]
    rows: list[JudgeRow]


def label_summary(sae: OpenSAE) -> LabelSummary | None:
    """Of an SAE; None where too few of its features were drawn, or where no judge can tell right labels from shuffled
    ones."""
    found = sae.run.record.corpus.get("score", {}).get("summary", {}).get(sae.name, [])
    rows = [row for judge in judges_of(sae.run) if (row := _row(judge.name, judge.trust, found))]
    if not rows:
        return None
    number = max(one["num"] for one in found)
    return LabelSummary(
        headline=f"{count(number)} labelled features drawn at random, beside those that pages lead with, were judged:",
        tasks=[name.capitalize() for name in TASK_NAMES],
        rows=rows,
    )


def _row(name: str, trust: Mapping[str, Trust], found: list[dict[str, Any]]) -> JudgeRow | None:
    """Only tasks at which a judge tells right labels from shuffled ones."""
    mine = {one["task"]: one for one in found if one["judge"] == name and (t := trust.get(one["task"])) and t.tells}
    if not mine:
        return None
    first = next(task for task in TASK_NAMES if task in mine)
    return JudgeRow(name, trust_text(trust[first]), [_mean(mine.get(task)) for task in TASK_NAMES])


def _mean(one: dict[str, Any] | None) -> str:
    return "–" if one is None else f"{share(one['mean'], 2)} ({share(one['low'], 2)} to {share(one['high'], 2)})"
