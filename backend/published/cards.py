"""Runs and SAEs as pages show them: names, metrics with their explanations, recipes."""

from dataclasses import dataclass
from typing import Any

from backend.html.formats import count, number, share
from backend.published.catalogue import OpenRun, OpenSAE
from data.artifacts.corpus import describe_limits
from data.artifacts.curve import describe_falling

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
NEGLIGIBLE = (
    "A feature is negligible when its squared activations, summed over all tokens, are less than a thousandth of an "
    "equal share of its SAE's: it is above zero somewhere, and adds next to nothing."
)
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
    """The language model's part of addresses."""
    model_name: str
    """What it is called."""
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
    """The language model's part of addresses."""
    model_name: str
    """What it is called."""
    layer: int
    corpus: str
    falling: str
    """Which SAEs were still learning when their training ended, as a sentence; "" when none was."""
    limit: str
    """What limits left of the corpus, as a sentence; "" where they left nothing out."""
    num_tokens: int
    """Tokens that statistics and examples were counted on."""
    saes: list[SAECard]


def run_card(run: OpenRun) -> RunCard:
    """A run as pages name it."""
    corpus = str(run.record.corpus["tokenize"].get("corpus", ""))
    limit = describe_limits(run.record.corpus["tokenize"])
    return RunCard(
        name=run.name,
        model=run.record.model,
        model_name=run.model_name,
        layer=run.record.layer,
        corpus=corpus,
        falling=describe_falling({sae.name: sae.record.metrics.get("loss_trend") for sae in run.saes}),
        limit=f"The run {limit}." if limit else "",
        num_tokens=run.num_tokens,
        saes=[sae_card(sae) for sae in run.saes],
    )


def sae_card(sae: OpenSAE) -> SAECard:
    """An SAE as pages name it."""
    record = sae.record
    method = METHODS.get(record.architecture, record.architecture)
    k = record.config.get("k")
    return SAECard(
        model=sae.model,
        model_name=sae.run.model_name,
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


def falling_text(sae: OpenSAE) -> str:
    """That an SAE was still learning when its training ended; "" when it was not."""
    return describe_falling({sae.name: sae.record.metrics.get("loss_trend")})


def counts_text(sae: OpenSAE) -> str:
    """How many features of an SAE do something, next to nothing, and nothing, as a sentence; "" when not published."""
    counts = sae.record.metrics
    if "num_negligible" not in counts:
        return ""
    together = f" (together {share(counts['negligible_share'], 2)} of the squared activation)"
    return (
        f"{count(counts['num_notable'])} live, {count(counts['num_negligible'])} negligible"
        f"{together if counts['num_negligible'] else ''}, {count(counts['num_dead'])} dead."
    )


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
    fetched = sae.run.record.corpus["fetch"]
    lines = [("model", sae.run.model_name), ("from", str(fetched.get("model_origin", "")))]
    lines += [("recipe", str(recipe.get("name", ""))), ("seed", str(recipe.get("seed", 0)))]
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
