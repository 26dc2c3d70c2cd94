"""What a person sees at the end of a run: the metrics of each SAE, and a few features to begin with.

A feature is proposed when a person can see at once what it is about, judged by what is published of it alone. It must
have a label, be active on 1 in 100 to 1 in 10,000 tokens, and at least half of its top examples must have their maximum
on the same word of four letters or more. Such features come one SAE after the other, each with another word, in the
order of

    agreement x mean / max x -log10(density)

that is: its top examples agree, it is active either strongly or not at all, and it is rare.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice, zip_longest
from math import log10
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from data.layout import StorePaths
from data.records import EXAMPLE_KINDS
from data.vectors import PublishedRun
from pipeline.published import LANCE_FOLDER, Published, open_published

MIN_DENSITY, MAX_DENSITY = 1e-4, 1e-2
MIN_EXAMPLES = 10
MIN_AGREEMENT = 0.5
MIN_LETTERS = 4
CANDIDATES = 1000
"""Features of each SAE that are looked at, those with the strongest activation."""
TOP = EXAMPLE_KINDS.index("top")


class Proposal(NamedTuple):
    """A feature worth a look."""

    path: str
    """Its address on the server: /{model}/{sae}/{index}."""
    label: str
    word: str
    """On which its top examples are strongest."""
    agreement: float
    """Share of the top examples on that word."""


def print_summary(store: StorePaths, run: str, address: str, *, num_features: int = 5) -> None:
    """Print metrics and links on stdout. `address`: where the server is, or will be."""
    published = open_published(store, run)
    console = Console(highlight=False)
    console.print(metrics_table(published))
    proposals = propose(published, num_features)
    if proposals:
        console.print("A few features to begin with:")
    for proposal in proposals:
        why = f"{proposal.word!r} in {proposal.agreement:.0%} of its top examples"
        console.print(f"  {address}{proposal.path}  {proposal.label}  ({why})", markup=False, soft_wrap=True)


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


def propose(published: Published, count: int) -> list[Proposal]:
    """Up to `count` features, see the top of this file."""
    run = PublishedRun(published.folder / LANCE_FOLDER)
    by_sae = [_proposals(run, f"/{sae.model}/{sae.name}", sae.name) for sae in published.record.saes]
    seen: set[str] = set()

    def fresh() -> Iterator[Proposal]:
        for proposals in zip_longest(*by_sae):
            for proposal in proposals:
                if proposal is not None and proposal.word.casefold() not in seen:
                    seen.add(proposal.word.casefold())
                    yield proposal

    return list(islice(fresh(), count))


def _proposals(run: PublishedRun, path: str, sae: str) -> list[Proposal]:
    """Of one SAE, best first."""
    where = f"sae = '{sae}' AND label != '' AND density >= {MIN_DENSITY} AND density <= {MAX_DENSITY}"
    columns = ["index", "label", "max", "mean", "density", "first_example", "num_examples"]
    table = run.list_features(where, columns, sort="max", descending=True, limit=CANDIDATES)
    features = [feature for feature in table.to_pylist() if feature["num_examples"][TOP] >= MIN_EXAMPLES]
    scored = []
    for feature, words in zip(features, _top_words(run, features), strict=True):
        word, times = Counter(words).most_common(1)[0]
        agreement = times / len(words)
        if agreement >= MIN_AGREEMENT and sum(character.isalpha() for character in word) >= MIN_LETTERS:
            score = agreement * feature["mean"] / feature["max"] * -log10(feature["density"])
            scored.append((score, Proposal(f"{path}/{feature['index']}", feature["label"], word, agreement)))
    return [proposal for _, proposal in sorted(scored, key=lambda pair: -pair[0])]


def _top_words(run: PublishedRun, features: list[dict[str, Any]]) -> list[list[str]]:
    """For each feature the tokens on which its top examples are strongest, without spaces around them."""
    firsts = [feature["first_example"] + sum(feature["num_examples"][:TOP]) for feature in features]
    counts = [feature["num_examples"][TOP] for feature in features]
    rows = [row for first, count in zip(firsts, counts, strict=True) for row in range(first, first + count)]
    examples = run.take("examples", rows, ["document", "position"]).to_pydict()
    tokens = run.windows(examples["document"], examples["position"], [1] * len(rows))
    words = iter([run.vocabulary[window[0]].decode("utf-8", "replace").strip() for window in tokens])
    return [list(islice(words, count)) for count in counts]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
