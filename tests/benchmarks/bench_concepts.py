"""Rank at which a search first shows a feature of the concept that was typed, on the newest run of the store.

The concepts and the rule by which a feature is accepted are in concepts.toml. Concepts for which no feature of the run
is accepted are counted apart: no order could find them. Beside the search stands a plain one, BM25 over the labels
alone, by the same judge in the same run. All of it reads published tables and asks the server as a browser does.
"""

import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from backend.app import create_app
from backend.published.catalogue import OpenRun
from backend.settings import Settings
from data.published.terms import words
from tests.benchmarks.table import Row

SHOWN = 100
"""Results that are looked through."""
LEAST_ACTIVE, LEAST_SHARE, LEAST_STRONG = 100, 0.5, 0.5
ROWS = 1024
"""Features read at once."""
K1, B = 1.2, 0.75
"""Of BM25, as it is usually set."""
Name = tuple[str, int]
"""SAE and index of a feature."""
Triples = list[list[str]]
"""The words at, before and after the peak of each top example of a feature that is strong enough to count."""


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

    def accepted(self, stems: Sequence[str]) -> set[Name]:
        """The live features that a person who typed a concept would take."""
        return {name for name, triples in self._triples.items() if accepts(triples, stems)}

    @cached_property
    def plain(self) -> "PlainSearch":
        """BM25 over the labels of the same features."""
        return PlainSearch({name: label for name, label, _ in self._live()})

    @cached_property
    def _triples(self) -> dict[Name, Triples]:
        """Of every live feature that is active often enough."""
        return {name: list(self._read(record)) for name, _, record in self._live()}

    def _live(self) -> Iterator[tuple[Name, str, dict[str, Any]]]:
        columns = ["label", "live", "num_active", "first_example", "num_examples"]
        for sae in self.run.saes:
            for start in range(0, sae.num_features, ROWS):
                rows = [sae.row(index) for index in range(start, min(sae.num_features, start + ROWS))]
                for index, record in enumerate(self.run.tables.take("features", rows, columns).to_pylist(), start):
                    if record["live"] and record["num_active"] >= LEAST_ACTIVE:
                        yield (sae.name, index), record["label"], record

    def _read(self, record: dict[str, Any]) -> Iterator[list[str]]:
        tables = self.run.tables
        columns = ["document", "start", "length", "position", "activation"]
        examples = tables.examples(record["first_example"], record["num_examples"], 0, columns).to_pylist()
        strongest = max((example["activation"] for example in examples), default=0.0)
        examples = [example for example in examples if example["activation"] >= LEAST_STRONG * strongest]
        places = [[example[name] for example in examples] for name in columns[:3]]
        for example, tokens in zip(examples, tables.windows(*places), strict=True):
            at = example["position"] - example["start"]
            pieces = [tables.vocabulary[token].decode(errors="ignore") for token in tokens]
            ends = list(accumulate(map(len, pieces), initial=0))
            found = list(words("".join(pieces)))
            inside = [i for i, word in enumerate(found) if word.start < ends[at + 1] and word.stop > ends[at]]
            low, high = (inside[0], inside[-1]) if inside else (len(found), len(found))
            yield [word.form for word in found[max(0, low - 1) : high + 2]]


def accepts(triples: Triples, stems: Sequence[str]) -> bool:
    """Whether at least LEAST_SHARE of the peaks hold, or stand beside, a word of the concept."""
    hits = sum(any(fits(form, stems) for form in triple) for triple in triples)
    return bool(triples) and hits >= LEAST_SHARE * len(triples)


def fits(form: str, stems: Sequence[str]) -> bool:
    """Whether a word begins with a stem, or is one that ends in a full stop, or a number where "#" is one."""
    return any(
        form == stem[:-1] if stem.endswith(".") else form[:1].isdigit() if stem == "#" else form.startswith(stem)
        for stem in stems
    )


class PlainSearch:
    """BM25 of whole words over the labels alone: what a search without anything else would give."""

    def __init__(self, labels: dict[Name, str]) -> None:
        self._words = {name: Counter(plain_words(label)) for name, label in labels.items()}
        self._length = sum(map(Counter.total, self._words.values())) / max(1, len(self._words))
        self._holding = Counter(word for counts in self._words.values() for word in counts)

    def search(self, typed: str) -> list[Name]:
        """Features whose label has a word of the query, the best first."""
        asked = plain_words(typed)
        scores = {name: self._score(counts, asked) for name, counts in self._words.items()}
        return sorted((name for name in scores if scores[name] > 0), key=lambda name: (-scores[name], name))

    def _score(self, counts: Counter[str], asked: Sequence[str]) -> float:
        room = K1 * (1 - B + B * counts.total() / self._length)
        rarity = {
            w: math.log(1 + (len(self._words) - self._holding[w] + 0.5) / (self._holding[w] + 0.5)) for w in asked
        }
        return sum(rarity[word] * counts[word] * (K1 + 1) / (counts[word] + room) for word in asked)


def plain_words(text: str) -> list[str]:
    """The words of a text, without signs."""
    return [word.form for word in words(text) if not word.sign]


def found_by(client: TestClient, concept: str) -> list[Name]:
    """The results of the search."""
    hits = client.get("/api/v1/search", params={"q": concept, "per_page": SHOWN}).json()["hits"]
    return [(hit["feature"]["sae"], hit["feature"]["index"]) for hit in hits]


def first_rank(found: Sequence[Name], accepted: set[Name]) -> int | None:
    """Rank of the first result that is accepted, from 1; None where none of those looked through is."""
    return next((rank for rank, name in enumerate(found[:SHOWN], start=1) if name in accepted), None)


def mean_reciprocal(ranks: Sequence[int | None]) -> float:
    """The mean over concepts of 1 / rank, 0 where nothing was found."""
    return sum(1 / rank for rank in ranks if rank) / max(1, len(ranks))


def _row(client: TestClient, judge: Judge, group: str, concepts: dict[str, list[str]]) -> Row:
    accepted = {concept: judge.accepted(stems) for concept, stems in concepts.items()}
    asked = [concept for concept in concepts if accepted[concept]]
    ranks = {concept: first_rank(found_by(client, concept), accepted[concept]) for concept in asked}
    plain = mean_reciprocal([first_rank(judge.plain.search(concept), accepted[concept]) for concept in asked])
    ours = mean_reciprocal(list(ranks.values()))
    worse = [f"{concept} {rank or 'none'}" for concept, rank in ranks.items() if rank != 1]
    missing = [concept for concept in concepts if not accepted[concept]]
    return Row(
        f"concepts: {group}",
        f"mean reciprocal rank {ours:.3f}",
        f"{plain:.3f} (BM25 over labels alone)",
        ours / plain if plain else float("inf"),
        f"{len(asked)} of {len(concepts)} concepts have an accepted feature, not {', '.join(missing) or 'none'}; "
        f"not first: {', '.join(worse) or 'none'}",
    )


if __name__ == "__main__":
    print(*run(), sep="\n")
