"""Concepts of a run, and the features that may be their own, see data/artifacts/completeness.py."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.html.address import query
from backend.html.formats import count
from backend.html.page import Link
from backend.published.catalogue import OpenRun, OpenSAE
from data.artifacts.completeness import CompletenessCounts, ListCounts, SAECounts
from data.concepts.lists import Concept

NOT_MEASURED = "Completeness was not measured in this run."
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class KnownConcept:
    """A concept of the lists of a run."""

    number: int
    list: ListCounts
    concept: Concept
    occurrences: int

    @property
    def name(self) -> str:
        return self.concept.name

    @property
    def ambiguous(self) -> bool:
        """Whether it is also an ordinary word or a name, and so not counted."""
        return self.concept.ambiguous

    @property
    def num_prompts(self) -> int:
        return len(self.list.templates)


@dataclass(frozen=True, slots=True)
class InText:
    """A feature's examples in the corpus at which it fires as on a concept's prompts."""

    on_concept: int
    """Those that stand on the concept."""
    read: int
    """All that were looked at."""

    @property
    def mostly(self) -> bool:
        """Whether at least half of them stand on it; true where none was looked at, as nothing speaks against it."""
        return 2 * self.on_concept >= self.read


@dataclass(frozen=True, slots=True)
class Candidate:
    """A feature that may be a concept's own, and what shows whether it is."""

    row: int
    """Of the feature."""
    rank: int
    mean: float
    """Activation on the last token of the concept's prompts, on average."""
    own: int
    """Prompts of the concept on which it fires."""
    others: int
    """Prompts of other concepts on which it fires."""
    num_rivals: int
    """Concepts that these hold."""
    rivals: list[str]
    """The strongest of these."""
    num_examples_read: int | None
    """Its examples in the corpus at which it fires; None where they were not looked at."""
    num_on_concept: int | None
    """Of these, those that stand on the concept."""
    specific: bool

    @property
    def in_text(self) -> InText:
        """How much of what it fires on in the corpus is the concept."""
        return InText(self.num_on_concept or 0, self.num_examples_read or 0)

    @property
    def precision(self) -> float:
        """Of the prompts on which it fires, the share that holds the concept."""
        return self.own / max(self.own + self.others, 1)


class Nearest:
    """For each concept of a run the best candidate of one SAE, in arrays [concepts]."""

    def __init__(self, place_N: Integers, specific_N: npt.NDArray[np.bool_]) -> None:
        self.place_N = place_N
        """Its row in file `concept_features`; -1 where no feature is active on the concept's prompts."""
        self.specific_N = specific_N


def completeness_of(run: OpenRun) -> CompletenessCounts:
    """What was measured of a run; `why_none` says why nothing was."""
    return run.once(_read_counts)


def _read_counts(run: OpenRun) -> CompletenessCounts:
    raw = run.record.corpus.get("completeness")
    return CompletenessCounts.from_json(raw) if raw else CompletenessCounts(why_none=NOT_MEASURED)


def sae_counts(sae: OpenSAE) -> SAECounts | None:
    """What was found of one SAE; None where nothing was measured."""
    return completeness_of(sae.run).saes.get(sae.name)


def concepts_link(sae: OpenSAE) -> Link | None:
    """How many concepts have a feature of their own, and the page of them; None where nothing was measured."""
    found, total = sae_counts(sae), completeness_of(sae.run).num_counted
    if found is None:
        return None
    text = (
        f"{count(found.num_represented)} of {count(total)} have a feature of their own here: countries, foods and such."
    )
    return Link(text, f"/completeness{query(run=sae.run.name, sae=sae.name)}")


def concepts_of(run: OpenRun) -> list[KnownConcept]:
    """The concepts of a run by number."""
    return run.once(_read_concepts)


def _read_concepts(run: OpenRun) -> list[KnownConcept]:
    lists, tables = completeness_of(run).lists, run.tables
    if not lists:
        return []
    records = tables.take("concepts", range(tables.count("concepts"))).to_pylist()
    return [
        KnownConcept(number, lists[one["list"]], _concept(one, lists[one["list"]]), one["occurrences"])
        for number, one in enumerate(records)
    ]


def _concept(record: dict[str, Any], one: ListCounts) -> Concept:
    return Concept((record["name"], *record["other_spellings"]), record["name"] in one.ambiguous)


def nearest_of(sae: OpenSAE) -> Nearest:
    """The best candidate of each concept, the first specific one where one is."""
    return sae.run.once(_read_nearest)[sae.name]


def _read_nearest(run: OpenRun) -> dict[str, Nearest]:
    tables, size = run.tables, len(concepts_of(run))
    if not size:
        nothing = Nearest(np.zeros(0, np.int64), np.zeros(0, bool))
        return dict.fromkeys((sae.name for sae in run.saes), nothing)
    columns = ["row", "concept", "specific", "nearest"]
    table = tables.take("concept_features", range(tables.count("concept_features")), columns)
    row_C, concept_C, specific_C, nearest_C = (column.to_numpy(zero_copy_only=False) for column in table.columns)
    found = {}
    for sae in run.saes:
        mine = np.flatnonzero((row_C >= sae.row(0)) & (row_C < sae.row(sae.num_features)) & nearest_C)
        place_N, specific_N = np.full(size, -1, np.int64), np.zeros(size, bool)
        place_N[concept_C[mine]], specific_N[concept_C[mine]] = mine, specific_C[mine]
        found[sae.name] = Nearest(place_N, specific_N)
    return found


def get_candidates(run: OpenRun, places: list[int]) -> list[Candidate]:
    """Candidates by row of file `concept_features`, in one read."""
    names = [one.name for one in concepts_of(run)]
    return [_candidate(one, names) for one in run.tables.take("concept_features", places).to_pylist()]


def _candidate(record: dict[str, Any], names: list[str]) -> Candidate:
    values = {name: value for name, value in record.items() if name not in ("concept", "nearest")}
    return Candidate(**{**values, "rivals": [names[number] for number in record["rivals"]]})


def own_of(sae: OpenSAE) -> dict[int, Candidate]:
    """The best feature of each concept that has one of its own, by the concept's number."""
    return sae.run.once(_read_own)[sae.name]


def _read_own(run: OpenRun) -> dict[str, dict[int, Candidate]]:
    found = {}
    for sae in run.saes:
        nearest = nearest_of(sae)
        numbers = np.flatnonzero(nearest.specific_N)
        own = get_candidates(run, nearest.place_N[numbers].tolist())
        found[sae.name] = dict(zip(numbers.tolist(), own, strict=True))
    return found


@dataclass(frozen=True, slots=True)
class Represented:
    """A concept whose own a feature is."""

    list: ListCounts
    name: str
    in_text: InText


def represented_by(sae: OpenSAE, index: int) -> list[Represented]:
    """The concepts whose best own feature it is, but for ambiguous ones."""
    concepts, row = concepts_of(sae.run), sae.row(index)
    own = [(concepts[number], found.in_text) for number, found in own_of(sae).items() if found.row == row]
    return [Represented(one.list, one.name, in_text) for one, in_text in own if not one.ambiguous]
