"""How far the features of an SAE are like single neurons, as its page says it."""

from dataclasses import dataclass

from backend.html.figures import Bars, correlation_bars
from backend.html.formats import count, number, share
from backend.published.catalogue import OpenSAE
from backend.published.selection import Selection
from data.artifacts.neurons import WEAK_R

EXPLANATION = (
    "Pearson's correlation of every feature with every MLP neuron of the layers up to the one that this SAE reads, "
    "over the same tokens. If features were neurons, each would have one with r near 1."
)


@dataclass(frozen=True)
class NeuronSummary:
    """The distribution of the features' highest |r|."""

    headline: str
    meaning: str
    explanation: str
    bars: Bars
    axis: str
    """A sentence on what the bars count."""
    href: str
    """The list of its features, those most like a neuron first."""


def neuron_summary(sae: OpenSAE) -> NeuronSummary | None:
    """None where nothing was compared, or no feature is active often enough."""
    found, counts = sae.record.metrics.get("neurons"), sae.run.record.corpus.get("neurons", {})
    if not found or not found["num_features"]:
        return None
    total, neurons = found["num_features"], count(counts["num_neurons"])
    least = count(sae.run.record.recipe["neurons"]["min_active"])
    return NeuronSummary(
        headline=f"{share(found['num_weak'] / total, 2)} of the features are like no single neuron:",
        meaning=(
            f"none of the {neurons} neurons of layers 0 to {counts['num_layers'] - 1} reaches |r| = {WEAK_R:g} with "
            f"them. Half of the features reach {number(found['median_r'], 2)} or more. The nearer to 100%, the more "
            "the SAE found what no neuron stands for; Scaling Monosemanticity has 82%, on a far larger model."
        ),
        explanation=EXPLANATION,
        bars=correlation_bars(found["counts"]),
        axis=(
            f"{count(total)} features by their highest |r|, over {count(counts['num_tokens'])} tokens; live features "
            f"that are active on at least {least} of them."
        ),
        href=Selection(sort="highest_r").href() + "#features",
    )
