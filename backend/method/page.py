"""The method page: questions and answers, with the figures of one run where there is one."""

from dataclasses import dataclass

from backend.html.page import Page
from backend.published.cards import tokens_seen
from backend.published.catalogue import OpenRun, OpenSAE
from data.hooks import hook_briefly

PAPER_FEATURES, PAPER_CONTEXTS, PAPER_CONTEXT_LENGTH = 131_072, 40_000_000, 250
"""Of Towards Monosemanticity: features of its largest autoencoder, and contexts of so many tokens it was trained on."""
SCALED_FEATURES = 2**20
VALUE_BYTES, INDEX_BYTES = 4, 4
"""Of an activation in float32, and of the number of its feature."""


@dataclass(frozen=True)
class Trained:
    """An SAE and what it was trained on."""

    name: str
    href: str
    num_features: int
    num_tokens: int
    """Read in training, repeats included."""
    tokens_per_feature: float
    l0: float
    explained_variance: float


@dataclass(frozen=True)
class RunFigures:
    """Figures of a run that answers refer to."""

    name: str
    model_name: str
    place: str
    """The place in the model that its SAEs read, e.g. "layer 14"."""
    width: int
    corpus: str
    num_tokens: int
    num_documents: int
    num_held_out_documents: int
    context_length: int
    saes: list[Trained]
    dense_bytes: int
    """Of every activation of the largest SAE on every token, in float32."""
    sparse_bytes: int
    """Of those above zero alone, each with the number of its feature."""


@dataclass(frozen=True)
class PaperFigures:
    """Data that a size needs, scaled from the paper's."""

    num_features: int
    num_contexts: int
    context_length: int
    num_tokens: int


@dataclass(frozen=True)
class MethodPage(Page):
    """method/method.html: what a newcomer asks."""

    run: RunFigures | None
    """None where nothing is published."""
    paper: PaperFigures
    scaled: PaperFigures
    """The same number of tokens for each feature."""


def method_page_of(run: OpenRun | None) -> MethodPage:
    """The page's context."""
    return MethodPage(
        run=_figures(run) if run else None,
        paper=_scaled(PAPER_FEATURES),
        scaled=_scaled(SCALED_FEATURES),
    )


def _scaled(num_features: int) -> PaperFigures:
    contexts = PAPER_CONTEXTS * num_features // PAPER_FEATURES
    return PaperFigures(num_features, contexts, PAPER_CONTEXT_LENGTH, contexts * PAPER_CONTEXT_LENGTH)


def _figures(run: OpenRun) -> RunFigures:
    tokenized, harvested = run.record.corpus["tokenize"], run.record.corpus["harvest"]
    saes = [_trained(sae) for sae in run.saes]
    largest = max(saes, key=lambda one: one.num_features)
    return RunFigures(
        name=run.name,
        model_name=run.model_name,
        place=hook_briefly(run.record.layer, run.hook),
        width=harvested["width"],
        corpus=str(tokenized.get("corpus", "")),
        num_tokens=run.num_tokens,
        num_documents=tokenized["num_documents"],
        num_held_out_documents=tokenized["num_held_out_documents"],
        context_length=tokenized["context_length"],
        saes=saes,
        dense_bytes=largest.num_features * run.num_tokens * VALUE_BYTES,
        sparse_bytes=round(largest.l0 * run.num_tokens) * (VALUE_BYTES + INDEX_BYTES),
    )


def _trained(sae: OpenSAE) -> Trained:
    num_tokens = tokens_seen(sae) or 0
    return Trained(
        name=sae.name,
        href=sae.href,
        num_features=sae.num_features,
        num_tokens=num_tokens,
        tokens_per_feature=num_tokens / sae.num_features,
        l0=sae.record.metrics["l0"],
        explained_variance=sae.record.metrics["explained_variance"],
    )
