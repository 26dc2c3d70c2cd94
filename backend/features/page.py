"""The page of one feature, and its embeddable form: their contexts, and the parts of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from backend.engine.limits import MAX_PROMPT_CHARACTERS
from backend.engine.sentences import Sentences
from backend.features.candidates import CandidatesSection, candidates_section
from backend.features.document import ShownDocument
from backend.features.examples import ExamplesSection, examples_section
from backend.features.judged import JudgedSection, judged_section
from backend.features.label_fit import LabelFit, label_fit
from backend.features.links import (
    KIND_TITLES,
    FeatureState,
    about,
    embed_html,
    step_href,
)
from backend.features.neighbourhood import NearSection, near_section
from backend.features.strengths import StrengthSection, strength_section
from backend.html.figures import Bars, activation_bars
from backend.html.formats import count, number, share
from backend.html.page import Page
from backend.html.policies import EMBEDDED, PLOTS
from backend.published.cards import NEGLIGIBLE, Metric, SAECard, rare_text, sae_card
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.common import FREQUENT, MOSTLY
from backend.published.concepts import Represented
from backend.published.effects import KnownReading, known_readings, why_not_measured
from backend.published.examples import Example, get_examples
from backend.published.features import Feature, get_feature
from backend.published.neurons import FeatureNeurons, get_neurons
from data.artifacts.features import EXAMPLE_KINDS

EMBEDDED_EXAMPLES = 5
SHARE_ABOUT = "Of the sum of squared activations of all features of this SAE, over all tokens counted."
assert set(KIND_TITLES) == set(EXAMPLE_KINDS)


@dataclass(frozen=True)
class Caution:
    """What to mind when its examples are read."""

    title: str
    text: str


@dataclass(frozen=True)
class FeaturePage(Page):
    """features/feature.html: everything about one feature."""

    policy: ClassVar[str] = PLOTS

    sae: SAECard
    feature: Feature
    fit: LabelFit
    candidates: CandidatesSection | None
    """Labels that it may have, with their scores; None where nothing is known to show."""
    owner: bool
    """Whether the reader is an owner of the server, who may correct the label."""
    concepts: Sequence[Represented]
    """Those whose own feature it is."""
    num_tokens: int
    """Tokens that statistics and examples were counted on."""
    minor: str
    """What rare, or negligible, means, when it is that; else ""."""
    caution: Caution | None
    previous: str | None
    next: str | None
    why_not_measured: str
    """The reason why its effects were not measured; "" when they were."""
    readings: dict[int, KnownReading]
    """Top examples, by rank, whose readings were published."""
    metrics: list[Metric]
    examples: ExamplesSection
    judged: JudgedSection | None
    """What judges say of it; None when it is dead."""
    strengths: StrengthSection | None
    """What happens when it is held; None when it is dead."""
    bars: Bars | None
    """Histogram of its activations; None when it is dead."""
    neurons: FeatureNeurons
    near: NearSection
    off: str
    """The reason why a text cannot be tried; "" when it can."""
    max_characters: int
    """Of a text that is tried."""
    embed_html: str
    """The HTML with which other sites embed the feature."""


@dataclass(frozen=True)
class EmbedPage(Page):
    """features/embed.html: a feature inside another page."""

    policy: ClassVar[str] = EMBEDDED

    sae: SAECard
    feature: Feature
    fit: LabelFit
    num_tokens: int
    about: str
    examples: list[Example]
    link: str
    """The feature's own page."""


def feature_metrics(run: OpenRun, feature: Feature) -> list[Metric]:
    """The statistics of one feature."""
    tokens = count(run.num_tokens)
    active = Metric(
        "Active on", f"{count(feature.num_active)} of {tokens} tokens", "Tokens on which its activation is above zero."
    )
    if feature.dead:
        return [active]
    units = "In units of the residual stream: what it adds along its direction."
    return [
        active,
        Metric("Density", share(feature.density), "The same as a share."),
        Metric("Share of squared activation", share(feature.squared_share, 2), SHARE_ABOUT),
        Metric("Maximum", number(feature.max), f"Its highest activation. {units}"),
        Metric("Mean", number(feature.mean), f"Over the tokens on which it is active. {units}"),
    ]


def feature_page_of(
    sae: OpenSAE, index: int, view: FeatureState, base: str, off: str, sentences: Sentences,
    shown: ShownDocument | None = None, concepts: Sequence[Represented] = (), *, owner: bool = False,
) -> FeaturePage:  # fmt: skip
    """The page's context. base: the server's address; off: why a text cannot be tried, "" when it can; owner: whether
    the reader may correct the label.

    sentences: tries an owner's label; shown: the document in place of the examples; concepts: those whose own feature
    it is.
    """
    feature = get_feature(sae, index)
    return FeaturePage(
        sae=sae_card(sae),
        feature=feature,
        fit=label_fit(sae.run, feature),
        candidates=candidates_section(sae, feature, sentences),
        owner=owner,
        concepts=concepts,
        num_tokens=sae.run.num_tokens,
        minor=_minor_text(sae.run, feature),
        caution=caution_of(feature),
        previous=step_href(sae, index - 1, view),
        next=step_href(sae, index + 1, view),
        why_not_measured=_why_not_measured(sae.run, feature),
        readings={one.rank: one for one in known_readings(sae.run, feature.first_reading, feature.num_readings)},
        metrics=feature_metrics(sae.run, feature),
        examples=examples_section(sae, feature, view, shown),
        judged=None if feature.dead else judged_section(sae, feature, view),
        strengths=None if feature.dead else strength_section(sae, feature),
        bars=activation_bars(feature.histogram, feature.histogram_edges, feature.max),
        neurons=get_neurons(sae, feature),
        near=near_section(sae, feature, view),
        off=off,
        max_characters=MAX_PROMPT_CHARACTERS,
        embed_html=embed_html(base + feature.href),
    )


def _why_not_measured(run: OpenRun, feature: Feature) -> str:
    return "" if feature.num_measured else why_not_measured(run, feature.kind)


def _minor_text(run: OpenRun, feature: Feature) -> str:
    """What keeps a feature out of lists, as a sentence; "" for a live one, and for a dead one, which its page says."""
    return {"rare": rare_text(run), "negligible": NEGLIGIBLE}.get(feature.kind, "")


def caution_of(feature: Feature) -> Caution | None:
    """Of a feature without a label that is strongest where passages begin, or of one that is active very often."""
    if feature.at_start > MOSTLY and not feature.label:
        return Caution(
            "Strongest where a passage begins.",
            f"{share(feature.at_start, 2)} of its strongest examples are among the first tokens that the model read in "
            "one piece: the words there tell little of it.",
        )
    if feature.density > FREQUENT:
        return Caution(
            f"Common: active on {share(feature.density, 2)} of all tokens.",
            "Its strongest examples need not show what it is mostly active on; the tab Intervals shows every level.",
        )
    return None


def embed_page_of(sae: OpenSAE, index: int, view: FeatureState) -> EmbedPage:
    """The embeddable form's context."""
    feature = get_feature(sae, index)
    width = int(view.context) if view.context != "full" else None
    return EmbedPage(
        sae=sae_card(sae),
        feature=feature,
        fit=label_fit(sae.run, feature),
        num_tokens=sae.run.num_tokens,
        about=about(sae, view.kind),
        examples=get_examples(sae, feature, view.kind, width)[:EMBEDDED_EXAMPLES],
        link=feature.href + view.query(embed=False),
    )
