"""The page of a person's own list of concepts."""

from dataclasses import dataclass

from backend.completeness.address import OwnState
from backend.completeness.figure import FrequencyFigure, figure_text, frequency_figure
from backend.completeness.own import OwnAnswer
from backend.completeness.page import PER_PAGE
from backend.completeness.rows import ConceptRow
from backend.html.formats import count, share
from backend.html.page import Link, Page, Pager
from backend.published.cards import SAECard, sae_card
from backend.published.catalogue import OpenSAE
from backend.published.verdicts import MAX_VERDICT_NOTE
from backend.web.live import Answer, Problem
from data.concepts.lists import ConceptList
from data.concepts.specificity import THRESHOLDS, Thresholds


@dataclass(frozen=True)
class OwnListPage(Page):
    """completeness/own.html: which concepts of an uploaded list have a feature of their own."""

    title: str
    templates: tuple[str, ...]
    sae: SAECard
    siblings: list[Link]
    """The page with each SAE of the run."""
    headline: str
    """"" without an answer."""
    rows: list[ConceptRow]
    pager: Pager
    figure: FrequencyFigure | None
    """None without an answer, and where no concept of the list occurs at all."""
    figure_text: str
    counted: str
    """The tokens in which they were counted, as a sentence."""
    thresholds: Thresholds
    owner: bool
    back: str
    off: str
    problem: Problem | None
    max_note: int = MAX_VERDICT_NOTE


def own_page_of(
    sae: OpenSAE, name: str, content: ConceptList, state: OwnState, answer: Answer[OwnAnswer], *, owner: bool
) -> OwnListPage:
    """The page's context. The concepts that have a feature of their own come first."""
    path, state = own_address(name), state.model_copy(update={"sae": sae.href[1:]})
    rows = sorted(answer.result.rows, key=lambda row: not row.verdict) if answer.result else []
    first = (state.page - 1) * PER_PAGE
    return OwnListPage(
        title=content.title,
        templates=content.templates,
        sae=sae_card(sae),
        siblings=[Link(one.name, path + state.query(sae=one.href[1:]), one is sae) for one in sae.run.saes],
        headline=_headline(answer.result) if answer.result else "",
        rows=rows[first : first + PER_PAGE],
        pager=Pager.at(state.page, PER_PAGE, len(rows), lambda page: path + state.query(page=page)),
        figure=frequency_figure(answer.result.found) if answer.result else None,
        figure_text=figure_text(answer.result.found) if answer.result else "",
        counted=_counted(answer.result) if answer.result else "",
        thresholds=THRESHOLDS,
        owner=owner,
        back=path + state.query(page=state.page),
        off=answer.off,
        problem=answer.problem(path + state.query(page=state.page)),
    )


def own_address(name: str) -> str:
    """The address of an uploaded list."""
    return f"/completeness/lists/{name}"


def _headline(found: OwnAnswer) -> str:
    num, total = found.found.num_represented, sum(not row.ambiguous for row in found.rows)
    apart = len(found.rows) - total
    have = "concept has a feature of its own" if total == 1 else "concepts have a feature of their own"
    return f"{num:,} of {total:,} {have}" + (f"; {apart:,} with another sense not counted" if apart else "")


def _counted(found: OwnAnswer) -> str:
    if found.num_tokens == found.num_training_tokens:
        return f"Counted in all {count(found.num_tokens)} tokens of the training documents."
    part = share(found.num_tokens / found.num_training_tokens, 2)
    return f"Counted in the first {count(found.num_tokens)} tokens of the training documents, {part} of them."
