"""Tables of features: sortable columns, a pager, presets; all of them plain addresses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, get_args

from fastapi import Query

from backend.html.page import Link, Pager
from backend.published.scores import trust_text
from backend.published.selection import FeatureList, Kind, Score, Selection
from data.artifacts.scores import JudgeReport
from data.published.tables import Sort

SORT_COLUMNS: dict[Sort, tuple[str, str]] = {
    "index": ("Index", "Number of the feature in this SAE."),
    "label": (
        "Label",
        "The short rule that best tells where it is active, on text it was not made from; an owner's stands first.",
    ),
    "density": ("Density", "Share of the tokens on which it is active."),
    "max": ("Maximum", "Highest activation, in units of the residual stream."),
    "mean": ("Mean", "Mean activation over the tokens on which it is active."),
    "label_precision": (
        "Right",
        "Share of the tokens that the label names on which the feature is active, on text it was not made from.",
    ),
    "label_recall": ("Covers", "Share of the feature's activation that lies on the tokens that the label names."),
    "specificity": ("Specificity", "How well it keeps to its label over the range of its activations, 0 to 1."),
    "highest_r": ("Neuron |r|", "Highest correlation with one of the model's neurons, its sign left off: 0 to 1."),
    "interest": (
        "Interest",
        "How well the label holds and how much the words say that it is strongest on, with how often and how strongly "
        "it is active and how much it changes the next token: 0 to 1.",
    ),
}


NEEDS: dict[Sort, Score] = {
    "label_score": "label_precision",
    "specificity": "specificity",
    "highest_r": "highest_r",
}
"""The score that an SAE must have for a preset by what it sorts by."""


@dataclass(frozen=True)
class Column:
    """A column of a table that can be sorted by."""

    name: Sort
    title: str
    explanation: str
    href: str
    """The same list sorted by it; in the other direction if it already is."""
    direction: str
    """"ascending", "descending", or "" when the list is not sorted by it."""
    numeric: bool


def columns(selection: Selection, scores: Sequence[Score] = (), judge: str = "") -> list[Column]:
    """The columns of a table of features, of the scores those named. judge: a sentence on who gave specificity."""
    found = [_column(selection, sort) for sort in SORT_COLUMNS if sort in scores or sort not in get_args(Score)]
    return [
        replace(one, explanation=f"{one.explanation} {judge}") if one.name == "specificity" else one for one in found
    ]


def judge_sentence(judge: JudgeReport | None) -> str:
    """The judge whose specificity lists show, and how far it can be trusted."""
    if judge is None:
        return ""
    return f"Judge '{judge.name}' {trust_text(judge.trust.get('specificity'))}. Few features are judged."


def pager(result: FeatureList, selection: Selection) -> Pager:
    """The pager of a list of features."""
    return Pager.at(result.page, result.per_page, result.total, lambda page: selection.href(page=page) + "#features")


def _column(selection: Selection, sort: Sort) -> Column:
    title, explanation = SORT_COLUMNS[sort]
    current = selection.sort == sort
    turned = ("asc" if selection.descending else "desc") if current else None
    direction = ("descending" if selection.descending else "ascending") if current else ""
    return Column(sort, title, explanation, selection.href(sort=sort, order=turned), direction, sort != "label")


def presets(selection: Selection, scores: Sequence[Score] = ()) -> list[Link]:
    """Links to common selections, of features of the kind that is listed now; of live ones where that is dead."""
    every = Selection(kind=None if selection.shown in ("live", "dead") else selection.shown)
    active: Kind | None = "active" if selection.shown == "all" else every.kind
    named = {
        "Most interesting": every,
        "Strongest": every.changed(sort="max"),
        "Most frequent": every.changed(sort="density"),
        "Rarest": every.changed(sort="density", order="asc", kind=active),
        "By label": every.changed(sort="label", kind=active),
        "Best label": every.changed(sort="label_score", labelled=True),
        "Judged": every.changed(sort="specificity"),
        "Most like a neuron": every.changed(sort="highest_r"),
        "Dead": every.changed(sort="index", kind="dead"),
    }
    here = selection.named().changed(page=1)
    return [
        Link(name, preset.href(), preset == here)
        for name, preset in named.items()
        if NEEDS.get(preset.sort) in {None, *scores}
    ]


def density_link(selection: Selection, low: float, high: float) -> str:
    """The address of all live features in a range of densities, all that were active: those that a bar counts."""
    return selection.href(min_density=low, max_density=min(high, 1.0), kind="active") + "#features"


SelectionQuery = Annotated[Selection, Query()]
