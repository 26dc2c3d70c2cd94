"""Pages on which owners write: the label and note of one feature, and who is an owner."""

from dataclasses import dataclass

from backend.html.page import Page
from backend.published.cards import SAECard, sae_card
from backend.published.catalogue import OpenSAE
from backend.published.corrections import Correction
from backend.published.features import Feature, get_feature
from data.published.limits import MAX_LABEL, MAX_NOTE


@dataclass(frozen=True)
class LabelPage(Page):
    """labels/edit.html: the form for the label and note of a feature, with what was typed."""

    sae: SAECard
    feature: Feature
    label: str
    note: str
    earlier: Correction
    """What was written of the feature of this number in an earlier state."""
    problem: str
    """The reason why it was refused; "" for none."""
    max_label: int = MAX_LABEL
    max_note: int = MAX_NOTE


@dataclass(frozen=True)
class OwnerPage(Page):
    """labels/owner.html: what an owner is, and whether this browser is one's."""

    owner: bool


def label_page_of(sae: OpenSAE, index: int, label: str | None = None, note: str = "", problem: str = "") -> LabelPage:
    """The page's context. label, note: what was typed; None shows what is kept."""
    feature = get_feature(sae, index)
    return LabelPage(
        sae=sae_card(sae),
        feature=feature,
        label=feature.owner_label if label is None else label,
        note=feature.owner_note if label is None else note,
        earlier=sae.run.corrections.earlier(sae.name, index),
        problem=problem,
    )
