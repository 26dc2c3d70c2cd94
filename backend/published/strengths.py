"""What a feature does at one strength after the other, as the run published it."""

from dataclasses import dataclass
from typing import Any

from backend.html.formats import count
from backend.html.tokens import token_text, visible_text
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.features import Feature
from data.artifacts.scores import JudgeReport, Trust

CURVE_COLUMNS = ["strength_words", "strength_words_from", "first_strength", "num_strengths"]
TOPIC = "topic"
"""The question that the judge of texts is measured on."""


@dataclass(frozen=True, slots=True)
class StrengthPoint:
    """A feature at one strength."""

    strength: float | None
    """Times its highest activation; None where nothing is held."""
    probability: float
    """Of its words together as the next token, the mean over the places read."""
    perplexity: float
    """Of the next token with the feature held, for the model with nothing held."""
    text_perplexity: float | None
    """Of the texts, for the model with nothing held; None without texts, as the next two."""
    repeats: float | None
    """Share of the texts that repeat themselves."""
    score: float | None
    """The judge's mean answer, 0 to 3: whether the texts are about the label."""
    texts: list[str]
    """One after each opening, without it; none where predictions are broken, or no texts were asked for."""
    broken: bool
    """Whether it is language no more, see docs/method.md."""


@dataclass(frozen=True, slots=True)
class StrengthCurve:
    """A feature at one strength after the other."""

    why_none: str
    """The reason why it was not measured; "" when it was."""
    words: list[str]
    """The tokens whose probability was measured."""
    words_from: str
    """effects: the feature raises them most; peaks: the words on which it is strongest begin with them."""
    openings: list[str]
    best: float | None
    """The strength at which it is best held; None where none brings the text nearer to what it is about."""
    breaks: float | None
    """The lowest strength above 0 at which the text breaks; None where none does."""
    judge: str
    """Name of the judge of the texts; "" where none was asked."""
    why_unjudged: str
    """The reason why none was; "" when one was."""
    trust: Trust | None
    """How the judge does on such texts where the truth is known."""
    max_ratio: float
    """Of its perplexity to that with nothing held, above which a strength is broken."""
    plain: StrengthPoint | None
    """With nothing held; None where nothing was measured."""
    points: list[StrengthPoint]
    """The lowest strength first."""


def get_strengths(sae: OpenSAE, feature: Feature) -> StrengthCurve:
    """The curve of one feature, in two reads."""
    run = sae.run
    record = run.tables.take("features", [sae.row(feature.index)], CURVE_COLUMNS).to_pylist()[0]
    counts = run.record.corpus.get("strengths", {})
    rows = range(record["first_strength"], record["first_strength"] + record["num_strengths"])
    points = [_point(row) for row in run.tables.take("strengths", rows).to_pylist()] if rows else []
    judge = JudgeReport.from_json(counts["judge"]) if counts.get("judge") else None
    vocabulary = run.tables.vocabulary
    return StrengthCurve(
        why_none="" if points else _why_none(run, feature, counts),
        words=[token_text(vocabulary[token]) for token in record["strength_words"]],
        words_from=record["strength_words_from"],
        openings=list(run.record.recipe.get("strengths", {}).get("openings", [])),
        best=feature.peak_strength,
        breaks=feature.break_strength,
        judge=judge.name if judge else "",
        why_unjudged=counts.get("why_unjudged", ""),
        trust=judge.trust.get(TOPIC) if judge else None,
        max_ratio=counts.get("max_ratio", 0.0),
        plain=points[0] if points else None,
        points=points[1:],
    )


def _point(row: dict[str, Any]) -> StrengthPoint:
    texts = [visible_text(text) for text in row["texts"]]
    names = [name for name in StrengthPoint.__slots__ if name != "texts"]
    return StrengthPoint(**{name: row[name] for name in names}, texts=texts)


def _why_none(run: OpenRun, feature: Feature, counts: dict[str, Any]) -> str:
    if why_none := counts.get("why_none"):
        return str(why_none)
    if feature.kind:
        return f"It is {feature.kind}, and live features are measured."
    number = sum(one["num_measured"] for one in counts.get("saes", {}).values())
    drawn = sum(one["num_random"] for one in counts.get("saes", {}).values())
    return (
        f"It is not among the {count(number)} features measured: {count(number - drawn)} that respond when they are "
        f"held, and {count(drawn)} drawn at random."
    )
