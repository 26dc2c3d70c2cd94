"""Scores of features, the judges that gave them, and how far each judge can be trusted."""

from dataclasses import dataclass
from typing import Any

from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.examples import Example, read_examples
from backend.published.features import Feature
from data.artifacts.features import INTERVAL
from data.artifacts.scores import RUBRIC, TASK_NAMES, JudgeReport, Trust

CANNOT_TELL = "cannot tell right labels from shuffled ones"
NOT_MEASURED = "was not measured on known truth"


@dataclass(frozen=True, slots=True)
class FeatureScore:
    """A score of a feature by one judge."""

    judge: str
    """Its name."""
    task: str
    """specificity, detection or fuzzing."""
    value: float
    """0 to 1, see docs/method.md."""
    true_positive: float | None
    """detection, fuzzing: share of the texts with the feature of which the judge says so."""
    true_negative: float | None
    """Share of the texts without it of which it says that."""
    num: int
    """Answers that it rests on."""
    trust: Trust | None
    """How the judge does at this task where the truth is known."""


@dataclass(frozen=True, slots=True)
class JudgedExample:
    """An activation that was drawn from the range of a feature, and what a judge says of it."""

    score: float
    """0 (the label has nothing to do with it) to 3 (it says exactly what it is)."""
    example: Example


@dataclass(frozen=True, slots=True)
class Answers:
    """What one judge says of the activations drawn of a feature, in the order in which they are stored."""

    rows: list[int]
    """Rows of the file of judged activations."""
    bands: list[int]
    scores: list[float]


def judges_of(run: OpenRun) -> list[JudgeReport]:
    """The judges of a run, in the order of its recipe."""
    return run.once(_read_judges)


def _read_judges(run: OpenRun) -> list[JudgeReport]:
    found = run.record.corpus.get("score", {}).get("judges", [])
    return [JudgeReport.from_json(raw) for raw in found]


def num_bands(run: OpenRun) -> int:
    """Parts of equal width into which the range of a feature is cut."""
    return int(run.record.corpus.get("score", {}).get("bands", 1))


def leading_judge(run: OpenRun) -> JudgeReport | None:
    """The judge whose specificity stands in lists; None where no judge gave any."""
    return next((judge for judge in judges_of(run) if judge.num_features and "specificity" in judge.trust), None)


def get_scores(sae: OpenSAE, feature: Feature) -> list[FeatureScore]:
    """All scores of a feature, by judge, then task."""
    if not feature.num_scores:
        return []
    rows = range(feature.first_score, feature.first_score + feature.num_scores)
    judges = judges_of(sae.run)
    found = []
    for record in sae.run.tables.take("scores", rows).to_pylist():
        judge, task = judges[record["judge"]], TASK_NAMES[record["task"]]
        values = {name: record[name] for name in ("value", "true_positive", "true_negative", "num")}
        found.append(FeatureScore(judge.name, task, **values, trust=judge.trust.get(task)))
    return found


def get_answers(sae: OpenSAE, feature: Feature, judge: int) -> Answers:
    """What the judge of a number says of a feature's activations; of those alone of which it says something."""
    rows = range(feature.first_judged, feature.first_judged + feature.num_judged)
    table = sae.run.tables.take("judged", rows, ["band", "answers"])
    columns = zip(rows, table["band"].to_pylist(), table["answers"].to_pylist(), strict=True)
    said = [(row, band, answers[judge]) for row, band, answers in columns if answers[judge] is not None]
    return Answers([row for row, _, _ in said], [band for _, band, _ in said], [score for _, _, score in said])


def step_of(score: float) -> int:
    """The whole answer nearest to one, 0 to 3."""
    return min(RUBRIC - 1, max(0, int(score + 0.5)))


def get_judged(sae: OpenSAE, feature: Feature, judge: int, rows: list[int]) -> list[JudgedExample]:
    """Activations by row of the file, with their texts, and what a judge says of each."""
    records: list[dict[str, Any]] = sae.run.tables.take("judged", rows).to_pylist()
    known = [{**r, "kind": INTERVAL, "repeats": 0, "pre_activation": r["activation"]} for r in records]
    examples = read_examples(sae.run, known, [feature.max] * len(records))
    return [JudgedExample(r["answers"][judge], example) for r, example in zip(records, examples, strict=True)]


def trust_text(trust: Trust | None) -> str:
    """How far a judge can be trusted at a task, as the end of a sentence that begins with its name."""
    if trust is None:
        return NOT_MEASURED
    figures = f"{trust.separation:.2f}, {trust.low:.2f} to {trust.high:.2f}"
    if not trust.tells:
        return f"{CANNOT_TELL} ({figures}; 0.50 is chance)"
    return f"tells right labels from shuffled ones {trust.separation:.0%} of the time ({figures})"


def trust_short(trust: Trust | None) -> str:
    """The same in a few words, beside a score whose judge is named already."""
    if trust is None or not trust.tells:
        return f"the judge {trust_text(trust)}"
    return f"judge right from shuffled {trust.separation:.2f} ({trust.low:.2f} to {trust.high:.2f})"


def trust_details(trust: Trust | None) -> str:
    """The other figures, as a sentence; "" without any."""
    if trust is None:
        return ""
    way = "kind" if trust.bias > 0 else "strict"
    bias = "without bias" if abs(trust.bias) < 0.005 else f"{abs(trust.bias):.0%} of the range too {way}"
    return (
        f"Measured on {trust.num_questions:,} questions about {trust.num_labels:,} labels whose truth is known: it "
        f"agrees with {trust.agreement:.0%} of them, {bias}."
    )
