"""Summary at the end of a run: the metrics of each SAE, and a few features to begin with."""

import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from rich.console import Console
from rich.table import Table

from data.artifacts.chats import describe_chats, describe_marks
from data.artifacts.corpus import describe_limits
from data.artifacts.curve import describe_falling
from data.artifacts.responses import Demonstration, Responses
from data.hooks import hook_briefly
from data.layout import StorePaths
from data.published.metrics import loss_sample, recovered, with_interval
from data.published.state import Published, open_published

NUM_RESPONSES = 3
WIDTH_OF_FILES = 120
"""Columns where there is no terminal."""


def print_summary(store: StorePaths, run: str, address: str, *, num_features: int = 5) -> None:
    """Print metrics and links on stdout. `address`: where the server is, or will be."""
    published = open_published(store, run)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
    console.print(metrics_table(published))
    if sample := loss_sample(published.record.saes[0].metrics):
        console.print(
            f"Loss added (nats per token) and recovered, against the stream's mean: on {sample}; ± 95% by document."
        )
    if falling := describe_falling({sae.name: sae.metrics.get("loss_trend") for sae in published.record.saes}):
        console.print(falling, soft_wrap=True)
    for told in _on_the_corpus(published.record.corpus["tokenize"]):
        console.print(told, markup=False, soft_wrap=True)
    pieces = published.record.showpieces[:num_features]
    if pieces:
        console.print("A few features to begin with:")
    for piece in pieces:
        link = f"{address}/{published.record.model}/{piece['sae']}/{piece['index']}"
        why = f"{piece['word']!r} in {piece['agreement']:.0%} of its top examples"
        console.print(f"  {link}  {_one_line(piece['label'])}  ({why})", markup=False, soft_wrap=True)
    measured = Responses.from_json(published.record.responses)
    responses = (*measured.chats, *measured.openings)[:NUM_RESPONSES]
    if responses:
        console.print("What it writes while a feature is held:")
    for one in responses:
        console.print(f"  {address}{_steering(published, one)}", markup=False, soft_wrap=True)
        for line in _compared(one):
            console.print(f"    {line}", markup=False, soft_wrap=True)


def _on_the_corpus(counts: Mapping[str, Any]) -> list[str]:
    """Sentences on how the corpus was read, by the counts of `tokenize`."""
    told = [f"It {said}." for said in (describe_limits(counts), describe_chats(counts)) if said]
    return told + [f"{said}." for said in (describe_marks(counts),) if said]


def _one_line(text: str) -> str:
    """Text that a terminal can show without being told to do something."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def _compared(one: Demonstration) -> tuple[str, str]:
    """The best text and the baseline, a line each."""
    opening = f"{one.opening} → " if one.chat else one.opening
    return (
        _one_line(f"{one.label} at {one.best_strength:g} × max: {opening}{one.best.text}"),
        _one_line(f"by itself: {opening}{one.baseline.text}"),
    )


def _steering(published: Published, one: Demonstration) -> str:
    """Address of the steering page that writes a response again."""
    asked = {
        "f": f"{published.record.model}/{one.sae}/{one.index}:{one.best_strength:g}",
        "prompt": one.opening,
        **({"chat": 1} if one.chat else {}),
        "temperature": 0,
        "new_tokens": one.new_tokens,
    }
    return f"/steer?{urlencode(asked, safe='/:')}"


def metrics_table(published: Published) -> Table:
    """One row per SAE, measured on held-out documents."""
    record = published.record
    place = hook_briefly(record.layer, published.hook)
    table = Table(title=f"run '{record.name}', {place} of {_one_line(record.model_name)}")
    table.add_column("SAE", no_wrap=True)
    for name in ("features", "explained variance", "L0", "dead", "rare", "loss added", "recovered"):
        table.add_column(name, justify="right")
    for sae in published.record.saes:
        metrics = sae.metrics
        table.add_row(
            sae.name,
            f"{sae.num_features:,}",
            _number(metrics.get("explained_variance"), ".3f"),
            _number(metrics.get("l0"), ".1f"),
            _number(metrics.get("dead_share"), ".1%"),
            _number(_rare_share(metrics, sae.num_features), ".1%"),
            with_interval(metrics, "loss_added") or "-",
            recovered(metrics, "mean") or "-",
        )
    return table


def _rare_share(metrics: Mapping[str, Any], num_features: int) -> float | None:
    rare = metrics.get("num_rare")
    return None if rare is None else rare / num_features


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
