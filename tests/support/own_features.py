"""Features that are a concept's own, as the server reads them."""

from backend.published.catalogue import OpenRun
from backend.published.concepts import Candidate

OwnFeatures = dict[str, dict[int, Candidate]]


def own_features(run: OpenRun, index: int, on_concept: dict[int, int]) -> OwnFeatures:
    """A feature of each SAE that is the own one of some concepts, by number.

    on_concept: of 20 examples in text at which it fires, those that stand on the concept.
    """
    return {
        sae.name: {n: Candidate(sae.row(index), 0, 1.0, 4, 0, 0, [], 20, some, True) for n, some in on_concept.items()}
        for sae in run.saes
    }
