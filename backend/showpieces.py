"""Features that show what an SAE can find, chosen from this very run and worked out once."""

from dataclasses import replace

from backend.catalogue import OpenRun, OpenSAE
from backend.contexts import WorkedExample
from backend.queries import Example, FeatureSummary, Selection, get_examples, get_feature, list_features

SHOWPIECES = 8
SHOWPIECE_SELECTION = Selection(sort="max", alive=True, min_density=1e-4, max_density=3e-3, per_page=40)
"""Features that fire seldom and strongly: those that read best."""
EXAMPLES_SHOWN = 3
TOKENS_SHOWN = 12
"""Either side of the strongest token, in the worked example."""


def showpieces(run: OpenRun) -> list[FeatureSummary]:
    """A few features that read well, worked out once."""
    if "showpieces" not in run.remembered:
        run.remembered["showpieces"] = _find_showpieces(_middle(run))
    found: list[FeatureSummary] = run.remembered["showpieces"]
    return found


def _find_showpieces(sae: OpenSAE) -> list[FeatureSummary]:
    found = list_features(sae, SHOWPIECE_SELECTION).features
    return (found or list_features(sae, Selection(alive=True)).features)[:SHOWPIECES]


def worked_example(run: OpenRun) -> WorkedExample | None:
    """The first showpiece with a few of its examples, worked out once."""
    if "worked" not in run.remembered:
        pieces = showpieces(run)
        run.remembered["worked"] = _work(_middle(run), pieces[0].index) if pieces else None
    found: WorkedExample | None = run.remembered["worked"]
    return found


def _work(sae: OpenSAE, index: int) -> WorkedExample:
    feature = get_feature(sae, index)
    examples = get_examples(sae, feature, "top")[:EXAMPLES_SHOWN]
    return WorkedExample(feature, [_around(example) for example in examples])


def _around(example: Example) -> Example:
    """The same with fewer tokens around the one that counts."""
    centre = example.position - example.start
    first = max(0, centre - TOKENS_SHOWN)
    return replace(example, start=example.start + first, tokens=example.tokens[first : centre + TOKENS_SHOWN + 1])


def _middle(run: OpenRun) -> OpenSAE:
    """The SAE of middle size."""
    return sorted(run.saes, key=lambda sae: sae.num_features)[len(run.saes) // 2]
