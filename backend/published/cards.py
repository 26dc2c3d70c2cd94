"""Runs and SAEs as pages show them: names, metrics with their explanations, recipes."""

from dataclasses import dataclass
from typing import Any

from backend.html.formats import count, number, share
from backend.published.catalogue import OpenRun, OpenSAE

METHODS = {"relu": "ReLU with L1", "topk": "TopK", "batchtopk": "BatchTopK"}
SAE_METRICS = {
    "explained_variance": (
        "Explained variance",
        "Share of the variance of the residual stream that the reconstruction keeps, on held-out documents.",
    ),
    "l0": ("L0", "Features above zero per token, on average, on held-out documents."),
    "ce_recovered": (
        "CE recovered",
        "How much of the model's loss is kept when the reconstruction replaces the residual stream: "
        "100% as good as the original, 0% as bad as zeros.",
    ),
    "dead_share": ("Dead", "Share of the features that were never active."),
    "ce_difference": ("CE added", "Cross-entropy (nats per token) that the reconstruction adds to the model's own."),
    "kl": (
        "KL",
        "Divergence (nats per token) from the model's next-token distribution to the one with the reconstruction.",
    ),
}
PERCENT = {"explained_variance", "ce_recovered", "dead_share"}


# ---- parts


@dataclass(frozen=True)
class Metric:
    """A measured value with what it means."""

    name: str
    text: str
    """The value as shown, with its unit."""
    explanation: str


@dataclass(frozen=True)
class SAECard:
    """An SAE as pages name it."""

    model: str
    name: str
    href: str
    series: int
    """Its colour: its place in the run."""
    num_features: int
    method: str
    """The training method, in words."""
    metrics: list[Metric]


@dataclass(frozen=True)
class RunCard:
    """A run as pages name it."""

    name: str
    model: str
    layer: int
    corpus: str
    num_tokens: int
    """Tokens that statistics and examples were counted on."""
    saes: list[SAECard]


def run_card(run: OpenRun) -> RunCard:
    """A run as pages name it."""
    corpus = str(run.record.corpus["tokenize"].get("corpus", ""))
    return RunCard(
        run.name, run.record.model, run.record.layer, corpus, run.num_tokens, [sae_card(sae) for sae in run.saes]
    )


def sae_card(sae: OpenSAE) -> SAECard:
    """An SAE as pages name it."""
    record = sae.record
    method = METHODS.get(record.architecture, record.architecture)
    k = record.config.get("k")
    return SAECard(
        model=sae.model,
        name=sae.name,
        href=sae.href,
        series=record.position,
        num_features=sae.num_features,
        method=f"{method}, k = {k}" if k else method,
        metrics=sae_metrics(sae),
    )


def tokens_seen(sae: OpenSAE) -> int | None:
    """Tokens that an SAE was trained on; None when its curve does not say."""
    seen = [int(point["tokens"]) for point in sae.record.curve if point.get("tokens")]
    return seen[-1] if seen else None


def dead_text(dead_share: float) -> str:
    """A share of dead features as it is shown everywhere."""
    return share(dead_share, 2) if dead_share else "none"


def sae_metrics(sae: OpenSAE) -> list[Metric]:
    """The metrics that `evaluate` measured, those that are there."""
    values = sae.record.metrics
    found = []
    for name, (title, explanation) in SAE_METRICS.items():
        if (value := values.get(name)) is not None:
            text = share(value) if name in PERCENT else number(value)
            if name == "dead_share":
                text = dead_text(value)
                explanation = f"Share of the features that were never active on {count(sae.run.num_tokens)} tokens."
            found.append(Metric(title, text, explanation))
    return found


def recipe_lines(sae: OpenSAE) -> list[tuple[str, str]]:
    """The recipe of an SAE, field by field."""
    recipe: dict[str, Any] = sae.run.record.recipe
    lines = [("recipe", str(recipe.get("name", ""))), ("seed", str(recipe.get("seed", 0)))]
    lines += _flat(
        "", {name: section for name, section in recipe.items() if name in {"corpus", "model", "tokenize", "harvest"}}
    )
    lines += _flat("train", {name: value for name, value in recipe.get("train", {}).items() if name != "saes"})
    return lines + _flat("sae", sae.record.config)


def _flat(prefix: str, section: dict[str, Any]) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for name, value in section.items():
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(value, dict):
            lines += _flat(path, value)
        elif value is not None:
            lines.append((path, str(value)))
    return lines
