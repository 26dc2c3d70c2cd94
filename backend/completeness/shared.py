"""The features that whole lists of concepts share."""

from dataclasses import dataclass

from backend.published.catalogue import OpenSAE
from backend.published.concepts import completeness_of, sae_counts
from backend.published.features import FeatureSummary, get_summaries


@dataclass(frozen=True)
class SharedRow:
    """A list, and the feature that tells its concepts best from those of all other lists."""

    title: str
    feature: FeatureSummary
    inside: int
    """Concepts of the list on which it fires."""
    num_inside: int
    outside: int
    """Other concepts on which it fires."""
    num_outside: int


def shared_rows(sae: OpenSAE) -> list[SharedRow]:
    """One for each list whose concepts activate anything, in one read."""
    found, mine = completeness_of(sae.run), sae_counts(sae)
    pairs = [(one, shared) for one, shared in zip(found.lists, mine.shared, strict=True) if shared] if mine else []
    features = get_summaries(sae.run, [sae.row(shared.feature) for _, shared in pairs])
    return [
        SharedRow(
            title=one.title,
            feature=feature,
            inside=shared.inside,
            num_inside=one.num_concepts,
            outside=shared.outside,
            num_outside=found.num_concepts - one.num_concepts,
        )
        for (one, shared), feature in zip(pairs, features, strict=True)
    ]
