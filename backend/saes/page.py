"""The page of an SAE: its features, its training, its files."""

from dataclasses import dataclass
from typing import Any, ClassVar

from backend.features.table import Column, columns, density_link, judge_sentence, pager, presets
from backend.html.figures import Bars, curve_figures, density_bars
from backend.html.page import Link, Page, Pager
from backend.html.policies import PLOTS
from backend.published.cards import (
    RunCard,
    SAECard,
    continued_from,
    counts_text,
    falling_text,
    kinds_text,
    recipe_lines,
    run_card,
    sae_card,
    tokens_seen,
)
from backend.published.catalogue import Catalogue, OpenSAE
from backend.published.concepts import concepts_link
from backend.published.scores import leading_judge
from backend.published.selection import FeatureList, Score, Selection, kind_choices, list_features, scores_of
from backend.saes.downloads import Download, downloads
from backend.saes.labels import LabelSummary, label_summary, why_no_summary
from backend.saes.neurons import NeuronSummary, neuron_summary
from backend.saes.strengths import StrengthSummary, strength_summary


@dataclass(frozen=True)
class SAEPage(Page):
    """saes/sae.html: one SAE and its features."""

    policy: ClassVar[str] = PLOTS

    run: RunCard
    sae: SAECard
    tokens_seen: int | None
    """Tokens that it was trained on; None when its curve does not say."""
    continued_from: str
    """The SAE that its training went on from; "" of one that was trained anew."""
    counts: str
    """How many of its features are live, rare, negligible and dead; "" when not published."""
    kinds: str
    """What rare and negligible mean."""
    falling: str
    """That it was still learning when its training ended; "" when it was not."""
    kept_per_token: float | None
    """Features that are above zero per held-out token, where k was asked for; None elsewhere."""
    siblings: list[Link]
    """The SAEs of the run."""
    elsewhere: list[Link]
    """SAEs of the same model at other hooks."""
    selection: Selection
    result: FeatureList
    kind_choices: list[Link]
    """Kinds of features: `text` is shown, `href` is the value."""
    columns: list[Column]
    pager: Pager
    presets: list[Link]
    """Links to common selections."""
    scores: list[Score]
    """Scores that any of its features has."""
    downloads: list[Download]
    density_bars: Bars | None
    concepts: Link | None
    """How many concepts have a feature of their own, with the page of them; None where that was not measured."""
    neurons: NeuronSummary | None
    """None where its features were not compared with neurons."""
    labels: LabelSummary | None
    """None where too few of its features were judged."""
    why_no_labels: str
    """Why, as a sentence; "" where none was judged."""
    strengths: StrengthSummary | None
    """None where none of its features was held to see what that does."""
    curve_figures: list[tuple[str, dict[str, Any]]]
    """Heading and Plotly figure."""
    recipe: list[tuple[str, str]]
    """Its recipe, as field and value."""


def sae_page_of(sae: OpenSAE, selection: Selection, catalogue: Catalogue) -> SAEPage:
    """The page's context."""
    selection = selection.named()
    result, known = list_features(sae, selection), scores_of(sae)
    # Few features are judged: their column stands where the list begins with them.
    scores = [score for score in known if score != "specificity" or selection.sort == "specificity"]
    return SAEPage(
        run=run_card(sae.run),
        sae=sae_card(sae),
        tokens_seen=tokens_seen(sae),
        continued_from=continued_from(sae),
        counts=counts_text(sae),
        kinds=kinds_text(sae.run),
        falling=falling_text(sae),
        kept_per_token=sae.record.metrics.get("l0") if sae.record.config.get("k") else None,
        siblings=[Link(other.name, other.href, other is sae) for other in sae.run.saes],
        elsewhere=_elsewhere(sae, catalogue),
        selection=selection,
        result=result,
        kind_choices=kind_choices(selection.shown),
        columns=columns(selection, scores, judge_sentence(leading_judge(sae.run))),
        pager=pager(result, selection),
        presets=presets(selection, known),
        scores=scores,
        downloads=downloads(sae),
        density_bars=_density_bars(sae, selection),
        concepts=concepts_link(sae),
        neurons=neuron_summary(sae),
        labels=label_summary(sae),
        why_no_labels=why_no_summary(sae),
        strengths=strength_summary(sae),
        curve_figures=curve_figures(sae.record.curve),
        recipe=recipe_lines(sae),
    )


def _elsewhere(sae: OpenSAE, catalogue: Catalogue) -> list[Link]:
    here = (sae.run.record.layer, sae.run.hook)
    runs = [run for run in catalogue.runs if run.record.model == sae.model and (run.record.layer, run.hook) != here]
    return [Link(other.name, other.href) for run in runs for other in run.saes]


def _density_bars(sae: OpenSAE, selection: Selection) -> Bars | None:
    histogram = sae.record.metrics.get("density_histogram")
    if not histogram:
        return None
    return density_bars(
        histogram["counts"],
        histogram["log10_edges"],
        lambda low, high: density_link(selection, float(f"{low:.3g}"), float(f"{high:.3g}")),
    )
