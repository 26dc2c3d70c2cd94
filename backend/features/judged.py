"""What judges say of a feature over the whole range of its activations: a section of its page."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from backend.features.links import FeatureState
from backend.html.address import rooted
from backend.html.figures import Figure
from backend.html.formats import count
from backend.html.page import Link
from backend.published.catalogue import OpenSAE
from backend.published.features import Feature
from backend.published.scores import (
    Answers,
    FeatureScore,
    JudgedExample,
    get_answers,
    get_judged,
    get_scores,
    judges_of,
    num_bands,
    step_of,
    trust_details,
    trust_short,
    trust_text,
)
from data.artifacts.scores import RUBRIC, JudgeReport

SHOWN = 30
"""Judged activations that are listed at once."""
MEANINGS = (
    "the label has nothing to do with it",
    "the label fits the text, not what is marked",
    "the label fits loosely, or something near",
    "the label says exactly what it is",
)
"""Of the answers 0 to 3."""
TASK_ABOUT = {
    "specificity": "Mean answer over the bands of its range, as a share of 3.",
    "detection": "Told by the label alone, which whole texts have the feature and which do not: balanced accuracy.",
    "fuzzing": "Told by the label alone, whether the marked tokens are those on which it is active: balanced accuracy.",
}


@dataclass(frozen=True)
class ScoreLine:
    """A score by the judge that is shown."""

    task: str
    about: str
    value: str
    details: str
    trust: str
    """How far the judge can be trusted at this task."""


@dataclass(frozen=True)
class Cell:
    """The activations of one band that got one answer."""

    share: str
    num: int
    href: str
    current: bool


@dataclass(frozen=True)
class BandRow:
    """One band of the range."""

    title: str
    num: int
    """Activations of it that were judged."""
    cells: list[Cell]
    """By answer, 0 to 3."""


@dataclass(frozen=True)
class JudgedSection:
    """The section."""

    why_none: str
    """The reason why there is nothing to show; "" when there is."""
    judges: list[Link]
    about: str
    """The judge that is shown, in a phrase."""
    trust: str
    tells: bool
    trust_details: str
    scores: list[ScoreLine]
    meanings: tuple[str, ...]
    rows: list[BandRow]
    """The highest band first."""
    figure: Figure | None
    heading: str
    """Of the list; "" when nothing is chosen."""
    shown: list[JudgedExample]
    more: int
    """Activations that were chosen and are not listed."""
    left_out: list[str]
    """Judges of the run that judged nothing, and why, where another did."""


def judged_section(sae: OpenSAE, feature: Feature, view: FeatureState) -> JudgedSection:
    """The section of a feature, by the judge that the address names, or the first that judged it."""
    judges = judges_of(sae.run)
    scores = get_scores(sae, feature)
    any_judged = any(judge.num_features for judge in judges)
    left_out = [f"{judge.name}: {judge.why_none}" for judge in judges if judge.why_none and any_judged]
    able = [n for n, judge in enumerate(judges) if any(score.judge == judge.name for score in scores)]
    if not able:
        return _nothing(_why_none(judges, feature), left_out)
    chosen = next((n for n in able if judges[n].name == view.judge), able[0])
    judge, answers = judges[chosen], get_answers(sae, feature, chosen)
    bands = num_bands(sae.run)
    rows = _band_rows(feature, view, judge.name, answers, bands)
    picked = _picked(answers, view)
    trust = judge.trust.get("specificity")
    return JudgedSection(
        why_none="",
        judges=[Link(judges[n].name, _href(feature, view, judges[n].name), n == chosen) for n in able],
        about=judge.about,
        trust=trust_text(trust),
        tells=trust is not None and trust.tells,
        trust_details=trust_details(trust),
        scores=[_line(score) for score in scores if score.judge == judge.name],
        meanings=MEANINGS,
        rows=rows,
        figure=_figure(feature, rows, bands) if rows else None,
        heading=_heading(view, bands) if picked else "",
        shown=get_judged(sae, feature, chosen, picked[:SHOWN]),
        more=max(0, len(picked) - SHOWN),
        left_out=left_out,
    )


def _nothing(why: str, left_out: list[str]) -> JudgedSection:
    return JudgedSection(why, [], "", "", False, "", [], MEANINGS, [], None, "", [], 0, left_out)


def _why_none(judges: Sequence[JudgeReport], feature: Feature) -> str:
    if not judges or not any(judge.num_features for judge in judges):
        return "No feature of this run was judged."
    if not feature.label:
        return "It has no label that could be judged."
    return "It is not among the features that were judged: some that pages lead with, and some drawn at random."


def _href(feature: Feature, view: FeatureState, judge: str, band: int | None = None, score: int | None = None) -> str:
    return (
        feature.href
        + view.query(judge=judge, band=band, score=score)
        + ("#judged-list" if score is not None else "#judged")
    )


def _band_rows(feature: Feature, view: FeatureState, judge: str, answers: Answers, bands: int) -> list[BandRow]:
    counts = Counter(zip(answers.bands, map(step_of, answers.scores), strict=True))
    rows = []
    for band in sorted(set(answers.bands), reverse=True):
        total = sum(counts[band, step] for step in range(RUBRIC))
        cells = [
            Cell(
                share=f"{counts[band, step] / total:.0%}",
                num=counts[band, step],
                href=_href(feature, view, judge, band, step),
                current=(view.band, view.score) == (band, step),
            )
            for step in range(RUBRIC)
        ]
        rows.append(BandRow(band_title(band, bands), total, cells))
    return rows


def band_title(band: int, bands: int) -> str:
    """A band as parts of the maximum."""
    return f"{100 * band / bands:.0f}–{100 * (band + 1) / bands:.0f}%"


def _picked(answers: Answers, view: FeatureState) -> list[int]:
    """Rows of the activations that the address asks for."""
    columns = zip(answers.rows, answers.bands, answers.scores, strict=True)
    return [row for row, band, score in columns if band == view.band and step_of(score) == view.score]


def _heading(view: FeatureState, bands: int) -> str:
    assert view.band is not None, "a band is asked for"
    return f"{band_title(view.band, bands)} of its maximum, answer {view.score}"


def _line(score: FeatureScore) -> ScoreLine:
    rates = ""
    if score.true_positive is not None and score.true_negative is not None:
        rates = f"right on {score.true_positive:.0%} of the texts with it, {score.true_negative:.0%} of those without; "
    value = f"{3 * score.value:.1f} of 3" if score.task == "specificity" else f"{score.value:.0%}"
    details = f"{rates}{count(score.num)} answers"
    return ScoreLine(score.task.capitalize(), TASK_ABOUT[score.task], value, details, trust_short(score.trust))


def _figure(feature: Feature, rows: Sequence[BandRow], bands: int) -> Figure:
    """Share of each answer by band, above the density of activations, for Plotly."""
    width = feature.max / bands
    place = {band_title(band, bands): (band + 0.5) * width for band in range(bands)}
    data = [
        {
            "type": "bar",
            "name": f"{step}",
            "x": [place[row.title] for row in rows],
            "y": [row.cells[step].num / row.num for row in rows],
            "width": 0.92 * width,
            "customdata": [rooted(row.cells[step].href) for row in rows],
            "text": [f"{row.title} of its maximum: {row.cells[step].num} of {row.num}" for row in rows],
            "textposition": "none",
            "hovertemplate": f"%{{text}} got {step}<extra></extra>",
            "meta": "line-strong" if step == 0 else "accent",
            "opacity": (1, 0.3, 0.6, 1)[step],
        }
        for step in range(RUBRIC)
    ]
    layout = {
        "barmode": "stack",
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.16, "traceorder": "normal"},
        "xaxis": {"title": {"text": "Activation"}, "range": [0, feature.max], "anchor": "y2"},
        "yaxis": {"tickformat": ".0%", "range": [0, 1], "domain": [0.36, 1], "nticks": 4},
        "yaxis2": {"type": "log", "domain": [0, 0.26], "nticks": 3, "tickformat": "~s", "anchor": "x"},
    }
    return {"data": [*data, _density(feature)], "layout": layout}


def _density(feature: Feature) -> Figure:
    """Tokens by unit of activation, from the histogram."""
    edges = feature.histogram_edges
    filled = [i for i, tokens in enumerate(feature.histogram) if tokens]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [min((edges[i] * edges[i + 1]) ** 0.5, feature.max) for i in filled],
        "y": [feature.histogram[i] / (edges[i + 1] - edges[i]) for i in filled],
        "yaxis": "y2",
        "showlegend": False,
        "fill": "tozeroy",
        "hovertemplate": "%{y:.3~s} tokens by unit of activation at %{x:.3~g}<extra></extra>",
    }
