"""Rank at which a search first shows a feature of the concept that was typed, on the newest run of the store.

The concepts and the rule by which a feature is accepted are in concepts.toml. It reads published tables alone, and asks
the server as a browser does, so that it can be copied to another commit to measure that.
"""

import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from fastapi.testclient import TestClient

from backend.app import create_app
from backend.published.catalogue import OpenRun
from backend.settings import Settings
from data.published.terms import words
from tests.benchmarks.table import Row

SHOWN = 100
"""Results that are looked through."""
LEAST_ACTIVE, LEAST_SHARE = 100, 0.5
BEFORE = {"word": 0.820, "meaning": 0.125}
"""Mean reciprocal ranks of the ranking by BM25 alone, on the sample's run: this file on a commit that had no other."""


def run() -> list[Row]:
    settings = Settings(live=False)
    if not settings.paths.database.exists():
        print(f"concepts: nothing is published in {settings.store}; MONOSEMA_STORE names another store")
        return []
    with TestClient(create_app(settings)) as client:
        judge = Judge(client.app.state.library.catalogue().runs[0])  # type: ignore[attr-defined]
        return [_row(client, judge, group, concepts) for group, concepts in read_concepts().items()]


def read_concepts() -> dict[str, dict[str, list[str]]]:
    """Stems by concept, by group."""
    return tomllib.loads((Path(__file__).parent / "concepts.toml").read_text())


class Judge:
    """Accepts features by the words at the peaks of their strongest examples."""

    def __init__(self, run: OpenRun) -> None:
        self.run = run

    @cached_property
    def _first_rows(self) -> dict[str, int]:
        return {sae.name: sae.record.first_row for sae in self.run.saes}

    def accepts(self, sae: str, index: int, stems: list[str]) -> bool:
        """Whether a person who typed a concept would take the feature."""
        tables = self.run.tables
        row = self._first_rows[sae] + index
        feature = tables.take("features", [row], ["num_active", "first_example", "num_examples"]).to_pylist()[0]
        triples = list(self._triples(feature["first_example"], feature["num_examples"]))
        hits = sum(any(fits(form, stems) for form in triple) for triple in triples)
        return feature["num_active"] >= LEAST_ACTIVE and bool(triples) and hits >= LEAST_SHARE * len(triples)

    def _triples(self, first: int, num_by_kind: list[int]) -> Iterator[list[str]]:
        """The words at, before and after the peak of each top example."""
        tables = self.run.tables
        examples = tables.examples(first, num_by_kind, 0, ["document", "start", "length", "position"]).to_pylist()
        columns = [[example[name] for example in examples] for name in ("document", "start", "length")]
        for example, tokens in zip(examples, tables.windows(*columns), strict=True):
            at = example["position"] - example["start"]
            pieces = [tables.vocabulary[token].decode(errors="ignore") for token in tokens]
            start = len("".join(pieces[:at]))
            found = list(words("".join(pieces)))
            inside = [i for i, word in enumerate(found) if word.start < start + len(pieces[at]) and word.stop > start]
            low, high = (inside[0], inside[-1]) if inside else (len(found), len(found))
            yield [word.form for word in found[max(0, low - 1) : high + 2]]


def fits(form: str, stems: list[str]) -> bool:
    """Whether a word begins with a stem, or is one that ends in a full stop, or a number where "#" is one."""
    return any(
        form == stem[:-1] if stem.endswith(".") else form[:1].isdigit() if stem == "#" else form.startswith(stem)
        for stem in stems
    )


def first_rank(client: TestClient, judge: Judge, concept: str, stems: list[str]) -> int | None:
    """Rank of the first result that is accepted, from 1."""
    hits = client.get("/api/v1/search", params={"q": concept, "per_page": SHOWN}).json()["hits"]
    places = (hit["feature"] for hit in hits)
    return next((i for i, f in enumerate(places, start=1) if judge.accepts(f["sae"], f["index"], stems)), None)


def _row(client: TestClient, judge: Judge, group: str, concepts: dict[str, list[str]]) -> Row:
    ranks = {concept: first_rank(client, judge, concept, stems) for concept, stems in concepts.items()}
    mean = sum(1 / rank for rank in ranks.values() if rank) / len(ranks)
    before = BEFORE[group]
    worse = [f"{concept} {rank or 'none'}" for concept, rank in ranks.items() if rank != 1]
    return Row(
        f"concepts: {group}",
        f"mean reciprocal rank {mean:.3f}",
        f"{before:.3f} (BM25 alone)",
        mean / before if before else float("inf"),
        f"{len(ranks)} concepts, not first: {', '.join(worse) or 'none'}",
    )


if __name__ == "__main__":
    print(*run(), sep="\n")
