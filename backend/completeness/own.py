"""A person's own list of concepts, answered live: by the functions of the stage, against the concepts of the run too.

Shapes: N concepts (own ones first, then those of the run), C candidates, M examples.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.completeness.rows import ConceptRow, features_of, frequency_text
from backend.engine.concepts import ConceptsReading
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.concepts import Candidate, concepts_of
from backend.published.examples import documents_of
from backend.published.verdicts import Overruled
from data.artifacts.completeness import SAECounts
from data.artifacts.features import INTERVAL, TOP
from data.concepts.frequency import shares_of
from data.concepts.lists import Concept, ConceptList, kin_of
from data.concepts.matching import AROUND, Matcher
from data.concepts.specificity import (
    Activations,
    Candidates,
    Fired,
    Prompts,
    Verdicts,
    choose,
    compare,
    decide,
    means_of,
    worth_reading,
)

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OwnAnswer:
    """A list of concepts in one SAE."""

    rows: list[ConceptRow]
    """In the order of the list."""
    num_tokens: int
    """In which its concepts were counted: the first ones of the training documents."""
    num_training_tokens: int
    """Of all training documents."""
    found: SAECounts
    """Shares by how often concepts occur, by what was measured, as of the run's lists."""


def answer_own(
    sae: OpenSAE, name: str, content: ConceptList, reading: ConceptsReading, verdicts: dict[tuple[str, str], Overruled]
) -> OwnAnswer:
    """What the model read of a list, judged. name: the list's, under which owners' verdicts are kept."""
    own = Activations.sorted(reading.prompt_K, reading.feature_K, reading.value_K)
    size = len(content.concepts)
    candidates = choose(means_of(own, Prompts.of([len(content.templates)] * size)))
    others = [one for one in concepts_of(sae.run) if not _is_same(one.concept, content.concepts)]
    prompts = Prompts.of([len(content.templates)] * size + [one.num_prompts for one in others])
    concepts = [*content.concepts, *(one.concept for one in others)]
    found = _with_published(sae, own, candidates, len(content.templates) * size, {one.number for one in others})
    fired = compare(candidates, found, prompts, kin_of(concepts))
    read_C = worth_reading(candidates, fired, prompts)
    matcher, index = Matcher(reading.written, sae.run.tables.vocabulary), sae.run.tables.token_index
    occurrences_N = np.bincount(matcher.find_in(index).concept_H, minlength=size)
    text = read_published_examples(sae, matcher, candidates, np.flatnonzero(read_C))
    verdict = decide(candidates, fired, prompts, text)
    names = [one.name for one in concepts]
    shown = [_candidate(sae, place, candidates, fired, (read_C, *text), verdict, names)
             if (place := int(verdict.nearest_N[number])) >= 0 else None for number in range(size)]  # fmt: skip
    features = features_of(sae.run, shown)
    rows = [
        ConceptRow(
            list=name, list_title=content.title, name=concept.name, occurrences=occurrences,
            often=frequency_text(occurrences, index.num_tokens), num_prompts=len(content.templates),
            ambiguous=concept.ambiguous, represented=candidate is not None and candidate.specific,
            candidate=candidate, feature=feature, overruled=verdicts.get((name, concept.name)),
        )
        for concept, occurrences, candidate, feature in zip(
            content.concepts, occurrences_N.tolist(), shown, features, strict=True
        )
    ]  # fmt: skip
    clear_N = np.array([not row.ambiguous for row in rows])
    represented_N = np.array([row.represented for row in rows])
    counts = _counts(sae, occurrences_N[clear_N], index.num_tokens, represented_N[clear_N])
    return OwnAnswer(rows, index.num_tokens, sae.run.record.corpus["tokenize"]["num_tokens"], counts)


def _counts(sae: OpenSAE, occurrences_N: Ints, num_tokens: int, represented_N: Mask) -> SAECounts:
    """What was found of the list as a whole, but for ambiguous concepts."""
    num, shares = int(represented_N.sum()), shares_of(occurrences_N, num_tokens, represented_N)
    alive = sae.num_features - int(sae.record.metrics["num_dead"])
    return SAECounts(num_alive=alive, num_represented=num, by_list=[num], shared=[], **vars(shares))


def _is_same(concept: Concept, own: tuple[Concept, ...]) -> bool:
    """Whether a concept of the run is one of a person's own."""
    mine = {spelling.casefold() for one in own for spelling in one.spellings}
    return any(spelling.casefold() in mine for spelling in concept.spellings)


def _with_published(
    sae: OpenSAE, own: Activations, candidates: Candidates, num_own: int, others: set[int]
) -> Activations:
    """The activations of the candidates alone, on own prompts and on those of some concepts of the run."""
    features = np.unique(candidates.feature_C)
    mine_K = np.isin(own.feature_K, features)
    parts = [(own.prompt_K[mine_K], own.feature_K[mine_K], own.value_K[mine_K])]
    number_P = _renumbered(sae.run, others, num_own)
    table = sae.run.tables.take("concept_activity", (sae.row(0) + features).tolist()) if len(number_P) else None
    if table is not None and len(table):
        lists = table["prompts"].combine_chunks()
        prompt_K = lists.flatten().to_numpy().astype(np.int64)
        feature_K = np.repeat(features, lists.value_lengths().to_numpy())
        kept_K = number_P[prompt_K] >= 0
        value_K = table["values"].combine_chunks().flatten().to_numpy()
        parts.append((number_P[prompt_K[kept_K]], feature_K[kept_K], value_K[kept_K]))
    return Activations.sorted(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _renumbered(run: OpenRun, kept: set[int], first: int) -> Ints:
    """For each prompt of the run its number behind `first` own ones; -1 where its concept is left out."""
    numbers: list[int] = []
    following = first
    for one in concepts_of(run):
        inside = one.number in kept
        numbers += range(following, following + one.num_prompts) if inside else [-1] * one.num_prompts
        following += one.num_prompts if inside else 0
    return np.array(numbers, np.int64)


def read_published_examples(sae: OpenSAE, matcher: Matcher, candidates: Candidates, chosen: Ints) -> tuple[Ints, Ints]:
    """Of the examples at which each candidate fires, those on its concept, and all [C]; of those not chosen, 0."""
    run, num = sae.run, len(candidates.concept_C)
    rows = (sae.row(0) + candidates.feature_C[chosen]).tolist()
    records = run.tables.take("features", rows, ["first_example", "num_examples"]).to_pylist()
    places: list[int] = []
    candidate_M: list[int] = []
    for candidate, record in zip(chosen.tolist(), records, strict=True):
        first, counts = record["first_example"], record["num_examples"]
        for kind in (TOP, INTERVAL):
            start = first + sum(counts[:kind])
            places += range(start, start + counts[kind])
            candidate_M += [candidate] * counts[kind]
    columns = ["document", "position", "activation", "start", "length"]
    level_C = candidates.level()
    seen: dict[tuple[int, int, int], dict[str, int]] = {}
    for candidate, one in zip(candidate_M, run.tables.take("examples", places, columns).to_pylist(), strict=True):
        if one["activation"] >= level_C[candidate]:
            seen.setdefault((candidate, one["document"], one["position"]), one)
    owner_M = np.array([candidate for candidate, *_ in seen], np.int64)
    windows, here = _windows(run, list(seen.values()))
    on_M = matcher.speaks_of(windows, here, candidates.concept_C[owner_M])
    return np.bincount(owner_M[on_M], minlength=num), np.bincount(owner_M, minlength=num)


def _windows(run: OpenRun, examples: list[dict[str, int]]) -> tuple[list[list[int]], list[int]]:
    """The tokens around each, and its place among them."""
    starts = [max(one["position"] - AROUND, 0) for one in examples]
    first_chunks = [first for _, first in documents_of(run, [one["document"] for one in examples])]
    stops = [
        min(one["position"] + AROUND + 1, max(one["start"] + one["length"], one["position"] + 1)) for one in examples
    ]
    lengths = [stop - start for start, stop in zip(starts, stops, strict=True)]
    here = [one["position"] - start for one, start in zip(examples, starts, strict=True)]
    return run.tables.windows_from(first_chunks, starts, lengths), here


def _candidate(
    sae: OpenSAE,
    place: int,
    candidates: Candidates,
    fired: Fired,
    text: tuple[Mask, Ints, Ints],
    verdict: Verdicts,
    names: list[str],
) -> Candidate:
    read_C, on_C, num_C = text
    return Candidate(
        row=sae.row(int(candidates.feature_C[place])),
        rank=int(candidates.rank_C[place]),
        mean=float(candidates.mean_C[place]),
        own=int(fired.own_C[place]),
        others=int(fired.others_C[place]),
        num_rivals=int(fired.num_rivals_C[place]),
        rivals=[names[number] for number in fired.rivals(place).tolist()],
        num_examples_read=int(num_C[place]) if read_C[place] else None,
        num_on_concept=int(on_C[place]) if read_C[place] else None,
        specific=bool(verdict.specific_C[place]),
    )
