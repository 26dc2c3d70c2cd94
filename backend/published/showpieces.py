"""Features that show what an SAE can find, chosen from the run itself, and computed once."""

from dataclasses import dataclass

from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.examples import Example, clip_context, get_examples
from backend.published.features import Feature, FeatureSummary, get_feature, get_summaries
from backend.published.selection import Selection, list_features

SHOWPIECES = 8
SELECTIVE = Selection(sort="max", alive=True, min_density=1e-4, max_density=3e-3, per_page=40)
EXAMPLES_SHOWN = 3


@dataclass(frozen=True)
class WorkedExample:
    """One feature of the run, to be explained step by step."""

    run: OpenRun
    feature: Feature
    examples: list[Example]


def showpieces(run: OpenRun) -> list[FeatureSummary]:
    """The features chosen when the run was published; where none qualified, some selective, strong ones."""
    saes = {sae.name: sae for sae in run.saes}
    rows = [saes[piece["sae"]].row(piece["index"]) for piece in run.record.showpieces[:SHOWPIECES]]
    return get_summaries(run, rows) if rows else _selective(_middle(run))


def _selective(sae: OpenSAE) -> list[FeatureSummary]:
    found = list_features(sae, SELECTIVE).features
    return (found or list_features(sae, Selection(alive=True)).features)[:SHOWPIECES]


def worked_example(run: OpenRun) -> WorkedExample | None:
    """The showpiece whose label fits best, with a few of its examples."""
    best = max(run.once(showpieces), key=lambda piece: piece.label_score or 0, default=None)
    return _work(run, best) if best else None


def _work(run: OpenRun, piece: FeatureSummary) -> WorkedExample:
    sae = next(sae for sae in run.saes if sae.name == piece.sae)
    feature = get_feature(sae, piece.index)
    examples = get_examples(sae, feature, "top")[:EXAMPLES_SHOWN]
    return WorkedExample(run, feature, [clip_context(example) for example in examples])


def _middle(run: OpenRun) -> OpenSAE:
    """The SAE of middle size."""
    return sorted(run.saes, key=lambda sae: sae.num_features)[len(run.saes) // 2]
