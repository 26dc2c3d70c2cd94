"""What a person sees at the end of a run: the metrics of each SAE, and a few features to begin with."""

from rich.console import Console
from rich.table import Table

from data.layout import StorePaths
from pipeline.published import Published, open_published


def print_summary(store: StorePaths, run: str, address: str, *, num_features: int = 5) -> None:
    """Print metrics and links on stdout. `address`: where the server is, or will be."""
    published = open_published(store, run)
    console = Console(highlight=False)
    console.print(metrics_table(published))
    pieces = published.record.showpieces[:num_features]
    if pieces:
        console.print("A few features to begin with:")
    for piece in pieces:
        link = f"{address}/{published.record.model}/{piece['sae']}/{piece['index']}"
        why = f"{piece['word']!r} in {piece['agreement']:.0%} of its top examples"
        console.print(f"  {link}  {piece['label']}  ({why})", markup=False, soft_wrap=True)


def metrics_table(published: Published) -> Table:
    """One row per SAE, measured on held-out documents."""
    table = Table(title=f"run '{published.record.name}', layer {published.record.layer} of {published.record.model}")
    table.add_column("SAE")
    for name in ("features", "explained variance", "L0", "dead", "CE recovered"):
        table.add_column(name, justify="right")
    for sae in published.record.saes:
        metrics = sae.metrics
        table.add_row(
            sae.name,
            f"{sae.num_features:,}",
            _number(metrics.get("explained_variance"), ".3f"),
            _number(metrics.get("l0"), ".1f"),
            _number(metrics.get("dead_share"), ".1%"),
            _number(metrics.get("ce_recovered"), ".3f"),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
