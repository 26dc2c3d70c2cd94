"""Runs and SAEs as pages show them: names, metrics with their explanations, recipes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from backend.html.formats import count, number, share
from backend.published.catalogue import OpenRun, OpenSAE
from data.artifacts.chats import describe_chats
from data.artifacts.corpus import describe_limits
from data.artifacts.curve import describe_falling
from data.hooks import hook_briefly, hook_in_words
from data.published.metrics import loss_sample, recovered, with_interval
from data.sql.records import SAERecord

METHODS = {"relu": "ReLU with L1", "topk": "TopK", "batchtopk": "BatchTopK", "jumprelu": "JumpReLU"} | {
    "gated": "Gated", "matryoshka": "Matryoshka BatchTopK",
}  # fmt: skip
SAE_METRICS = {
    "explained_variance": (
        "Explained variance",
        "Share of the variance of the residual stream that the reconstruction keeps, on held-out documents: those that "
        "training never saw.",
    ),
    "l0": ("L0", "Features above zero per token, on average, on held-out documents."),
    "loss_added": (
        "Loss added",
        "What the model's loss (cross-entropy of the next token, in nats) grows by when the reconstruction replaces "
        "the residual stream; ± is the 95% interval by document.",
    ),
    "recovered_mean": (
        "Recovered",
        "Of the loss that is added when the residual stream is replaced by its mean over the training tokens, the "
        "share that the reconstruction does not add.",
    ),
    "recovered_zero": (
        "Recovered, against zeros",
        "The same share of the loss that is added when the whole residual stream is replaced by zeros, an easier "
        "baseline.",
    ),
    "kl": (
        "KL",
        "Divergence (nats per token) from the model's next-token distribution to the one with the reconstruction.",
    ),
    "dead_share": ("Dead", "Share of the features that were never active."),
}
NEGLIGIBLE = (
    "A feature is negligible when its squared activations, summed over all tokens, are less than a thousandth of an "
    "equal share of its SAE's: it is above zero somewhere, and adds next to nothing."
)
RARE = (
    "A feature is rare when it is active on fewer than {tokens} tokens: too little is seen of it to tell its meaning."
)
ON_A_SAMPLE = {"loss_added", "recovered_mean", "recovered_zero", "kl"}
"""Measured on a sample of the held-out documents, which the explanation names."""


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
    place: str
    """The place in the model that its SAEs read, e.g. "layer 14"."""
    reads: str
    """The same at length."""
    corpus: str
    falling: str
    """Which SAEs were still learning when their training ended, as a sentence; "" when none was."""
    limit: str
    """What limits left of the corpus, and how conversations were read, as sentences; "" for nothing of either."""
    num_tokens: int
    """Tokens that statistics and examples were counted on."""
    saes: list[SAECard]


def run_card(run: OpenRun) -> RunCard:
    """A run as pages name it."""
    counts = run.record.corpus["tokenize"]
    corpus = str(counts.get("corpus", ""))
    limits = [said for said in (describe_limits(counts), describe_chats(counts)) if said]
    return RunCard(
        name=run.name,
        model=run.record.model,
        model_name=run.model_name,
        place=hook_briefly(run.record.layer, run.hook),
        reads=hook_in_words(run.record.layer, run.hook),
        corpus=corpus,
        falling=describe_falling({sae.name: sae.record.metrics.get("loss_trend") for sae in run.saes}),
        limit=" ".join(f"The run {said}." for said in limits),
        num_tokens=run.num_tokens,
        saes=[sae_card(sae) for sae in run.saes],
    )


def sae_card(sae: OpenSAE) -> SAECard:
    """An SAE as pages name it."""
    record = sae.record
    method, k = _method(record), record.config.get("k")
    return SAECard(
        model=sae.model,
        model_name=sae.run.model_name,
        name=sae.name,
        href=sae.href,
        series=record.position,
        num_features=sae.num_features,
        method=f"{method}, k {k}" if k else method,
        metrics=sae_metrics(sae),
    )


def _method(record: SAERecord) -> str:
    """How it was trained, in words; of one that was imported, what it is."""
    if "source" not in record.config:
        return METHODS.get(record.architecture, record.architecture)
    method = "ReLU" if record.architecture == "relu" else METHODS.get(record.architecture, record.architecture)
    return f"{method}, imported"


def tokens_seen(sae: OpenSAE) -> int | None:
    """Tokens that an SAE was trained on; None when its curve does not say."""
    seen = [int(point["tokens"]) for point in sae.record.curve if point.get("tokens")]
    return seen[-1] if seen else None


def continued_from(sae: OpenSAE) -> str:
    """The SAE that its training went on from, without the folders of the machine; "" of one that was trained anew."""
    begin = sae.record.config.get("from")
    if begin is None:
        return ""
    named = "/".join(filter(None, (begin["source"], begin["folder"])))
    if named.startswith("run:"):
        run, _, name = named.removeprefix("run:").partition("/")
        return f"{name} of run {run}"
    return PurePath(named).name if named.startswith(("/", ".", "~")) else named


def falling_text(sae: OpenSAE) -> str:
    """That an SAE was still learning when its training ended; "" when it was not."""
    return describe_falling({sae.name: sae.record.metrics.get("loss_trend")})


def counts_text(sae: OpenSAE, *, explained: bool = True) -> str:
    """How many features of an SAE are live, rare, negligible and dead, as a sentence; "" when not published. explained:
    whether it says what rare means."""
    counts = sae.record.metrics
    if "num_rare" not in counts:
        return ""
    rare = f" (active on fewer than {count(counts['rare_tokens'])} tokens)" if explained else ""
    parts = [
        f"{count(counts['num_live'])} live",
        f"{count(counts['num_rare'])} rare{rare}",
        f"{count(counts['num_dead'])} dead",
    ]
    if counts["num_negligible"]:
        together = f"together {share(counts['negligible_share'], 2)} of the squared activation"
        parts.insert(2, f"{count(counts['num_negligible'])} negligible ({together})")
    return f"{', '.join(parts)}."


def rare_tokens(run: OpenRun) -> int:
    """A rare feature of a run is active on fewer tokens than this."""
    return int(run.record.recipe["examples"]["rare_tokens"])


def rare_text(run: OpenRun) -> str:
    """What rare means in a run."""
    return RARE.format(tokens=count(rare_tokens(run)))


def kinds_text(run: OpenRun) -> str:
    """What rare and negligible mean in a run."""
    return f"{rare_text(run)} {NEGLIGIBLE}"


def share_or_none(part: float) -> str:
    """A share of dead or rare features as it is shown everywhere."""
    return share(part, 2) if part else "none"


FORMATS: dict[str, Callable[[float], str]] = {"explained_variance": share, "l0": number, "dead_share": share_or_none}


def metric_text(sae: OpenSAE, name: str) -> str | None:
    """A metric of SAE_METRICS as it is shown everywhere; None when it was not measured."""
    metrics = sae.record.metrics
    if name.startswith("recovered_"):
        return recovered(metrics, name.removeprefix("recovered_"))
    if name in ON_A_SAMPLE:
        return with_interval(metrics, name)
    value: float | None = metrics.get(name)
    return None if value is None else FORMATS[name](value)


def sae_metrics(sae: OpenSAE) -> list[Metric]:
    """The metrics that `evaluate` measured, those that are there."""
    found = []
    for name, (title, explanation) in SAE_METRICS.items():
        if (text := metric_text(sae, name)) is None:
            continue
        if name == "dead_share":
            explanation = f"Share of the features that were never active on {count(sae.run.num_tokens)} tokens."
        if name in ON_A_SAMPLE:
            explanation = f"{explanation} On {loss_sample(sae.record.metrics)}."
        found.append(Metric(title, text, explanation))
    return found


def loss_note(run: OpenRun) -> str | None:
    """Sample that the losses of a run were measured on, and the model's own loss; None when not measured."""
    metrics = run.saes[0].record.metrics
    sample, own = loss_sample(metrics), with_interval(metrics, "ce")
    return f"on {sample}; the model's own loss there is {own} nats per token" if sample and own else None


def recipe_lines(sae: OpenSAE) -> list[tuple[str, str]]:
    """The recipe of an SAE, field by field."""
    recipe: dict[str, Any] = sae.run.record.recipe
    fetched = sae.run.record.corpus["fetch"]
    lines = [("model", sae.run.model_name), ("from", str(fetched.get("model_origin", "")))]
    if run_by := sae.run.record.corpus["harvest"].get("implementation"):
        lines.append(("run by", str(run_by)))
    lines += [("recipe", str(recipe.get("name", ""))), ("seed", str(recipe.get("seed", 0)))]
    lines += _flat(
        "", {name: section for name, section in recipe.items() if name in {"corpus", "model", "tokenize", "harvest"}}
    )
    if not recipe.get("imports", {}).get("saes"):
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
