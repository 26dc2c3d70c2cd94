"""The page that compares random features with random neurons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from backend.exceptions import NotFoundError
from backend.html.address import PagedAddress
from backend.html.formats import share
from backend.html.page import Link, Page, Pager
from backend.neurons.wording import (
    ABOUT,
    CHANCE,
    P_TITLES,
    difference_text,
    measure_title,
    p_text,
    sentence_of,
    verdict_of,
)
from backend.published.catalogue import OpenRun
from backend.published.comparison import (
    ComparedUnit,
    find_group,
    first_row,
    get_comparison,
    get_units,
    get_values,
    is_neuron,
)
from backend.published.scores import judges_of, trust_details, trust_text
from data.artifacts.comparison import NEURONS_GROUP, Comparison, Group, Mean, Measure
from data.artifacts.scores import JudgeReport

Values = npt.NDArray[np.float64]
PER_PAGE = 12
BINS = 10
"""Of the distributions, from 0 to 1."""


class NeuronsAddress(PagedAddress):
    """The state of the page."""

    path: ClassVar[str] = "/neurons"

    run: str = Field("", max_length=200)
    """Name of the run; the newest that compared any where empty."""
    measure: str = Field("", max_length=300)
    """The score that is shown, by its name in addresses."""
    group: str = Field("", max_length=200)
    """Whose features, or "neurons", are listed."""
    page: int = Field(1, ge=1, le=100_000)


@dataclass(frozen=True)
class Bin:
    """A bar of a distribution; lengths are shares of the plot."""

    x: float
    height: float
    title: str


@dataclass(frozen=True)
class GroupRow:
    """A group by the score that is shown; lengths are shares of the scale from 0 to 1."""

    name: str
    href: str
    """The list of what was drawn of it."""
    current: bool
    neurons: bool
    num: int
    mean: float
    low: float
    high: float
    bins: list[Bin]
    difference: str
    """From the neurons, with its interval; "" for them."""
    superiority: str
    p: str
    labelled: str
    """How many have a rule that could be a label."""


@dataclass(frozen=True)
class UnitRow:
    """A feature or neuron of the list."""

    unit: ComparedUnit
    title: str
    href: str
    """Of the feature's page; "" for a neuron."""
    value: str
    label: str
    density: str


@dataclass(frozen=True)
class DrawnList:
    """A page of what was drawn of a group, the highest score first."""

    title: str
    units: list[UnitRow]
    pager: Pager


@dataclass(frozen=True)
class Shown:
    """All that is shown of a run that compared some."""

    measures: list[Link]
    title: str
    """Of the score that is shown."""
    about: str
    judge: str
    """Who gave it, as a phrase; "" where none is needed."""
    trust: str
    trust_details: str
    tells: bool
    chance: float | None
    verdict: str
    verdicts: list[str]
    """A sentence for each SAE."""
    p_name: str
    p_title: str
    """What p is of."""
    rows: list[GroupRow]
    num: int
    """Neurons that were drawn."""
    num_layers: int
    num_tokens: int
    num_held_out: int
    densities: list[tuple[str, str]]
    """Of each group, the share of the tokens read on which the median of those drawn is active."""
    passed_over: str
    left_out: tuple[str, ...]
    drawn: DrawnList


@dataclass(frozen=True)
class NeuronsPage(Page):
    """neurons/neurons.html: random features against random neurons."""

    run: str
    model_name: str
    why_none: str
    """The reason why there is nothing to show, as a sentence; "" when there is."""
    shown: Shown | None


def neurons_page_of(run: OpenRun | None, view: NeuronsAddress) -> NeuronsPage:
    """The page's context. Raises NotFoundError for a score or a group that there is not."""
    if run is None:
        return NeuronsPage("", "", "Nothing is published here.", None)
    comparison = get_comparison(run)
    if comparison.why_none:
        return NeuronsPage(run.name, run.model_name, comparison.why_none, None)
    return NeuronsPage(run.name, run.model_name, "", _shown(run, comparison, view))


def _shown(run: OpenRun, comparison: Comparison, view: NeuronsAddress) -> Shown:
    judges = {judge.name: judge for judge in judges_of(run)}
    measure = find_measure(run, comparison, view.measure)
    group = find_group(comparison, view.group or comparison.groups[0].name)
    if group is None:
        raise NotFoundError(f"No features of '{view.group}' were compared in run '{run.name}'.")
    judge, column = judges.get(measure.judge), comparison.measures.index(measure)
    trust = judge.trust.get(measure.task) if judge else None
    neurons = comparison.groups[-1]
    p_of = measure.tests[0].p_of if measure.tests else "means"
    return Shown(
        measures=[
            Link(measure_title(one), view.href(measure=one.key) + "#result", one is measure)
            for one in comparison.measures
        ],
        title=measure_title(measure),
        about=ABOUT[measure.task],
        judge=judge.about if judge else "",
        trust=trust_text(trust) if judge else "",
        trust_details=trust_details(trust),
        tells=judge is None or (trust is not None and trust.tells),
        chance=CHANCE.get(measure.task),
        verdict=verdict_of(measure),
        verdicts=[sentence_of(measure, test) for test in measure.tests],
        p_name="p of ranks" if p_of == "ranks" else "p",
        p_title=P_TITLES[p_of],
        rows=[_row(run, comparison, measure, mean, view, group) for mean in measure.means],
        num=neurons.num,
        num_layers=comparison.num_layers,
        num_tokens=comparison.num_tokens,
        num_held_out=comparison.num_held_out,
        densities=[(one.name, share(one.density, 2)) for one in comparison.groups],
        passed_over=_passed_over(comparison),
        left_out=comparison.left_out,
        drawn=_drawn(run, comparison, group, column, view),
    )


def find_measure(run: OpenRun, comparison: Comparison, key: str) -> Measure:
    """The score of a name; by default the first whose judge can be trusted most, else that without a judge.

    Raises NotFoundError where there is none of that name.
    """
    if key:
        found = next((one for one in comparison.measures if one.key == key), None)
        if found is None:
            names = ", ".join(one.key for one in comparison.measures)
            raise NotFoundError(f"There is no score '{key}' in run '{run.name}': use one of {names}.")
        return found
    trusted = {judge.name: judge for judge in judges_of(run)}
    return next((one for one in comparison.measures if _is_trusted(trusted, one)), comparison.measures[0])


def _is_trusted(judges: dict[str, JudgeReport], measure: Measure) -> bool:
    judge = judges.get(measure.judge)
    trust = judge.trust.get(measure.task) if judge and measure.task == "specificity" else None
    return trust is not None and trust.tells


def _row(
    run: OpenRun, comparison: Comparison, measure: Measure, mean: Mean, view: NeuronsAddress, listed: Group
) -> GroupRow:
    group = find_group(comparison, mean.group)
    assert group is not None, "means are of groups"
    test = next((one for one in measure.tests if one.group == mean.group), None)
    return GroupRow(
        name=mean.group,
        href=view.href(group=mean.group) + "#drawn",
        current=group is listed,
        neurons=mean.group == NEURONS_GROUP,
        num=mean.num,
        mean=mean.mean,
        low=mean.low,
        high=mean.high,
        bins=_bins(_values(run, comparison, group, comparison.measures.index(measure))),
        difference=difference_text(test) if test else "",
        superiority=f"{test.superiority:.0%}" if test else "",
        p=p_text(test.p) if test else "",
        labelled=f"{group.num_telling} of {group.num}",
    )


def _values(run: OpenRun, comparison: Comparison, group: Group, column: int) -> Values:
    first = first_row(comparison, group.name)
    return get_values(run)[first : first + group.num, column]


def _bins(values: Values) -> list[Bin]:
    known = values[~np.isnan(values)]
    counts = np.histogram(np.clip(known, 0, 1), BINS, (0, 1))[0].tolist()
    highest = max(1, *counts)
    return [
        Bin(n / BINS, number / highest, f"{number} of {len(known)}: {100 * n // BINS} to {100 * (n + 1) // BINS}%")
        for n, number in enumerate(counts)
        if number
    ]


def _passed_over(comparison: Comparison) -> str:
    """How many were drawn and passed over, by group."""
    some = [f"{group.num_passed_over} of {group.name}" for group in comparison.groups if group.num_passed_over]
    return ", ".join(some)


def _drawn(run: OpenRun, comparison: Comparison, group: Group, column: int, view: NeuronsAddress) -> DrawnList:
    values = _values(run, comparison, group, column)
    order = np.lexsort((np.arange(len(values)), -np.nan_to_num(values, nan=-1))).tolist()
    start = (view.page - 1) * PER_PAGE
    rows = [first_row(comparison, group.name) + place for place in order[start : start + PER_PAGE]]
    hrefs = {sae.name: sae.href for sae in run.saes}
    units = get_units(run, rows) if rows else []
    whose = f"Neurons of layers 0 to {comparison.num_layers - 1}" if group.name == NEURONS_GROUP else group.name
    return DrawnList(
        title=f"{whose}, the highest score first",
        units=[_unit(unit, hrefs, column, comparison.num_tokens) for unit in units],
        pager=Pager.at(view.page, PER_PAGE, group.num, lambda page: view.href(page=page) + "#drawn"),
    )


def _unit(unit: ComparedUnit, hrefs: dict[str, str], column: int, num_tokens: int) -> UnitRow:
    neuron, value = is_neuron(unit), unit.values[column]
    return UnitRow(
        unit=unit,
        title=f"layer {unit.layer}, neuron {unit.index}" if neuron else f"feature {unit.index}",
        href="" if neuron else f"{hrefs[unit.group]}/{unit.index}",
        value="–" if value is None else f"{100 * value:.0f}%",
        label=unit.label or "no rule fits at all",
        density=f"active on {share(unit.num_active / max(num_tokens, 1), 2)} of the tokens read",
    )


def compared_runs(runs: Sequence[OpenRun]) -> list[OpenRun]:
    """Those that compared some."""
    return [run for run in runs if not get_comparison(run).why_none]
