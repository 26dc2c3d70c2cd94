"""The page of completeness: how many concepts of the run's lists have a feature of their own, and which."""

from dataclasses import dataclass

from backend.completeness.address import CompletenessState, Shown
from backend.completeness.figure import FrequencyFigure, figure_text, frequency_figure
from backend.completeness.rows import ConceptRow, features_of, frequency_text
from backend.completeness.shared import SharedRow, shared_rows
from backend.completeness.store import MAX_LIST_CHARACTERS, MAX_OWN_CONCEPTS
from backend.completeness.wording import (
    Verdicts,
    ambiguous_text,
    half_text,
    headline_text,
    in_text,
    meaning_text,
    overruled_text,
)
from backend.exceptions import NotFoundError
from backend.html.formats import count, share
from backend.html.page import Link, Page, Pager
from backend.published.cards import RunCard, SAECard, run_card, sae_card
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.concepts import (
    KnownConcept,
    completeness_of,
    concepts_of,
    get_candidates,
    nearest_of,
    sae_counts,
)
from backend.published.verdicts import MAX_VERDICT_NOTE
from data.artifacts.completeness import ListCounts
from data.concepts.lists import TEMPLATES
from data.concepts.specificity import THRESHOLDS, Thresholds

PER_PAGE = 50
SHOWN: dict[Shown, str] = {
    "represented": "With a feature of their own",
    "missing": "Without",
    "ambiguous": "Also ordinary words or names",
    "all": "All",
}


@dataclass(frozen=True)
class SAERow:
    """One SAE in the table of shares."""

    sae: SAECard
    current: bool
    href: str
    total: str
    by_list: list[str]
    """Concepts of each list that are represented."""
    half: str
    """How often a concept must occur for even odds."""
    alive: str
    """One over the number of features that are not dead, in the same words."""


@dataclass(frozen=True)
class CompletenessPage(Page):
    """completeness/completeness.html: how many concepts have a feature of their own."""

    run: RunCard
    why_none: str
    """The reason why nothing was measured; "" when it was."""
    headline: str
    meaning: str
    """What follows of it, in a sentence."""
    in_text: str
    """How many of these features stand for their concept in text too, as a sentence; "" for none."""
    ambiguous: str
    """How many concepts stand apart for their other senses, as a sentence; "" for none."""
    ambiguous_href: str
    total: int
    """Concepts in all lists that are counted."""
    lists: list[ListCounts]
    saes: list[SAERow]
    sae: SAECard
    """Whose concepts are listed."""
    shared: list[SharedRow]
    """The feature that each list shares, where one tells it from the others."""
    figure: FrequencyFigure | None
    figure_text: str
    kinds: list[Link]
    """The page with each list."""
    shown: list[Link]
    """The page with concepts that have a feature of their own, and others."""
    rows: list[ConceptRow]
    pager: Pager
    num_tokens: int
    """In which concepts were counted."""
    overruled: str
    """How many verdicts owners overruled, as a sentence; "" for none."""
    thresholds: Thresholds
    num_prompts: int
    owner: bool
    back: str
    """The address of this page, to come back to."""
    upload: "UploadForm"
    max_note: int = MAX_VERDICT_NOTE


@dataclass(frozen=True)
class UploadForm:
    """The form for a list of one's own, with what was typed."""

    text: str = ""
    problem: str = ""
    """The reason why it was refused; "" for none."""
    off: str = ""
    """The reason why the model cannot read it; "" when it can."""
    max_characters: int = MAX_LIST_CHARACTERS
    max_concepts: int = MAX_OWN_CONCEPTS
    templates: tuple[str, ...] = TEMPLATES


def chosen_sae(run: OpenRun, state: CompletenessState) -> OpenSAE:
    """The SAE that the state names, or the one in which most concepts are represented. Raises NotFoundError."""
    if state.sae:
        found = next((sae for sae in run.saes if sae.name == state.sae), None)
        if found is None:
            raise NotFoundError(f"There is no SAE '{state.sae}' in run '{run.name}'.")
        return found
    saes = completeness_of(run).saes
    return max(run.saes, key=lambda sae: saes[sae.name].num_represented if sae.name in saes else 0)


def completeness_page_of(
    run: OpenRun, state: CompletenessState, verdicts: Verdicts, upload: UploadForm, *, owner: bool
) -> CompletenessPage:
    """The page's context. verdicts: those of owners on the SAE that is chosen."""
    found, sae = completeness_of(run), chosen_sae(run, state)
    mine, state = sae_counts(sae), state.model_copy(update={"sae": sae.name, "run": run.name})
    if state.kind and state.kind not in {one.name for one in found.lists}:
        raise NotFoundError(f"There is no list of concepts '{state.kind}' in run '{run.name}'.")
    rows, total = concept_rows(sae, verdicts, state.kind, state.show, state.page, PER_PAGE)
    return CompletenessPage(
        run=run_card(run),
        why_none=found.why_none,
        headline=headline_text(found, sae, mine),
        meaning=meaning_text(found, mine) if mine else "",
        in_text=in_text(sae),
        ambiguous=ambiguous_text(sae),
        ambiguous_href=state.href(show="ambiguous") + "#concepts",
        total=found.num_counted,
        lists=found.lists,
        saes=[_sae_row(one, sae, state) for one in run.saes],
        sae=sae_card(sae),
        shared=shared_rows(sae) if mine else [],
        figure=frequency_figure(mine) if mine else None,
        figure_text=figure_text(mine) if mine else "",
        kinds=[
            Link("All lists", state.href(kind="") + "#concepts", not state.kind),
            *(Link(one.title, state.href(kind=one.name) + "#concepts", state.kind == one.name) for one in found.lists),
        ],
        shown=[
            Link(text, state.href(show=name) + "#concepts", state.show == name)
            for name, text in SHOWN.items()
            if name != "ambiguous" or found.num_counted < found.num_concepts
        ],
        rows=rows,
        pager=Pager.at(state.page, PER_PAGE, total, lambda page: state.href(page=page) + "#concepts"),
        num_tokens=found.num_tokens,
        overruled=overruled_text(sae, verdicts),
        thresholds=THRESHOLDS,
        num_prompts=found.num_prompts,
        owner=owner,
        back=state.href(page=state.page),
        upload=upload,
    )


def concept_rows(
    sae: OpenSAE, verdicts: Verdicts, kind: str, show: Shown, page: int, per_page: int
) -> tuple[list[ConceptRow], int]:
    """One page of concepts, the most frequent first, and how many there are. kind: name of a list, "" for all."""
    concepts, nearest = concepts_of(sae.run), nearest_of(sae)
    chosen = [
        one
        for one in concepts
        if kind in ("", one.list.name) and show in ("all", _state(one, bool(nearest.specific_N[one.number]), verdicts))
    ]
    chosen.sort(key=lambda one: -one.occurrences)
    shown = chosen[(page - 1) * per_page : page * per_page]
    return _rows(sae, shown, verdicts), len(chosen)


def _state(one: KnownConcept, represented: bool, verdicts: Verdicts) -> Shown:
    if one.ambiguous:
        return "ambiguous"
    overruled = verdicts.get((one.list.name, one.name))
    return "represented" if (overruled.represented if overruled else represented) else "missing"


def _rows(sae: OpenSAE, shown: list[KnownConcept], verdicts: Verdicts) -> list[ConceptRow]:
    nearest = nearest_of(sae)
    places = [int(nearest.place_N[one.number]) for one in shown]
    read = iter(get_candidates(sae.run, [place for place in places if place >= 0]))
    candidates = [next(read) if place >= 0 else None for place in places]
    features, listed = features_of(sae.run, candidates), _lists_by_name(sae.run)
    return [
        ConceptRow(
            list=one.list.name,
            list_title=one.list.title,
            name=one.name,
            occurrences=one.occurrences,
            often=frequency_text(one.occurrences, completeness_of(sae.run).num_tokens),
            num_prompts=one.num_prompts,
            ambiguous=one.ambiguous,
            represented=bool(nearest.specific_N[one.number]),
            candidate=candidate,
            feature=feature,
            overruled=verdicts.get((one.list.name, one.name)),
            also_in="" if one.ambiguous else " and ".join(t for t in listed[one.name] if t != one.list.title),
        )
        for one, candidate, feature in zip(shown, candidates, features, strict=True)
    ]


def _lists_by_name(run: OpenRun) -> dict[str, list[str]]:
    """Titles of the lists that count a concept of each name."""
    found: dict[str, list[str]] = {}
    for one in concepts_of(run):
        found.setdefault(one.name, []).extend([] if one.ambiguous else [one.list.title])
    return found


def _sae_row(one: OpenSAE, current: OpenSAE, state: CompletenessState) -> SAERow:
    mine, total = sae_counts(one), max(1, completeness_of(one.run).num_counted)
    return SAERow(
        sae=sae_card(one),
        current=one is current,
        href=state.href(sae=one.name),
        total=f"{count(mine.num_represented)} ({share(mine.num_represented / total, 2)})" if mine else "–",
        by_list=list(map(count, mine.by_list)) if mine else [],
        half=half_text(mine.fit) if mine else "–",
        alive=f"1 in {count(mine.num_alive)}" if mine else "–",
    )
