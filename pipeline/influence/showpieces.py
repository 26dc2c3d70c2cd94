"""Showpieces: features about one word, which a person looks at first.

Each has a label, is active on 1 in 100 to 1 in 10,000 tokens, and has at least 10 top examples, half of them with their
maximum on the same word of four letters or more. They are sought in the published tables, among the STRONGEST_FEATURES
of each SAE, and come one SAE after the other, each with another word, in the order of

    agreement x mean / max x -log10(density)
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any, Protocol, TypeVar

import numpy as np

from data.artifacts.features import TOP
from data.published.tables import PublishedRun

MIN_DENSITY, MAX_DENSITY = 1e-4, 1e-2
MIN_EXAMPLES = 10
MIN_AGREEMENT = 0.5
MIN_LETTERS = 4
STRONGEST_FEATURES = 1000
"""Features of each SAE that are looked at for showpieces, those with the strongest activation."""


class AboutWord(Protocol):
    """A feature about a word."""

    @property
    def word(self) -> str: ...


F = TypeVar("F", bound=AboutWord)


def score(agreement: Any, mean: Any, highest: Any, density: Any) -> Any:
    """Score of how much a feature says, of numbers or arrays of them."""
    return agreement * mean / highest * -np.log10(density)


def is_long(word: str) -> bool:
    """Whether a word has letters enough."""
    return sum(character.isalpha() for character in word) >= MIN_LETTERS


def take_turns(by_sae: Sequence[Iterable[F]], count: int) -> list[F]:
    """Up to `count` features, one of each SAE in turn, each with another word."""
    seen: set[str] = set()

    def fresh() -> Iterator[F]:
        for several in zip_longest(*by_sae):
            for feature in several:
                if feature is not None and feature.word.casefold() not in seen:
                    seen.add(feature.word.casefold())
                    yield feature

    return list(islice(fresh(), count))


@dataclass(frozen=True)
class Showpiece:
    """A feature worth a look."""

    sae: str
    index: int
    label: str
    word: str
    """On which its top examples are strongest."""
    agreement: float
    """Share of the top examples on that word."""


def find_showpieces(run: PublishedRun, saes: Sequence[str], count: int) -> list[Showpiece]:
    """Up to `count` features, see the top of this file."""
    return take_turns([_of_sae(run, sae) for sae in saes], count)


def _of_sae(run: PublishedRun, sae: str) -> list[Showpiece]:
    """Of one SAE, best first."""
    where = f"sae = '{sae}' AND live AND label != ''"
    where += f" AND density >= {MIN_DENSITY} AND density <= {MAX_DENSITY}"
    columns = ["index", "label", "max", "mean", "density", "first_example", "num_examples"]
    table = run.list_features(where, columns, sort="max", descending=True, limit=STRONGEST_FEATURES)
    features = [feature for feature in table.to_pylist() if feature["num_examples"][TOP] >= MIN_EXAMPLES]
    scored = []
    for feature, words in zip(features, _top_words(run, features), strict=True):
        word, times = Counter(words).most_common(1)[0]
        agreement = times / len(words)
        if agreement >= MIN_AGREEMENT and is_long(word):
            merit = score(agreement, feature["mean"], feature["max"], feature["density"])
            scored.append((merit, Showpiece(sae, feature["index"], feature["label"], word, agreement)))
    return [piece for _, piece in sorted(scored, key=lambda pair: -pair[0])]


def _top_words(run: PublishedRun, features: list[dict[str, Any]]) -> list[list[str]]:
    """For each feature the tokens on which its top examples are strongest, without spaces around them."""
    firsts = [feature["first_example"] + sum(feature["num_examples"][:TOP]) for feature in features]
    counts = [feature["num_examples"][TOP] for feature in features]
    rows = [row for first, count in zip(firsts, counts, strict=True) for row in range(first, first + count)]
    examples = run.take("examples", rows, ["document", "position"]).to_pydict()
    tokens = run.windows(examples["document"], examples["position"], [1] * len(rows))
    words = iter([run.vocabulary[window[0]].decode("utf-8", "replace").strip() for window in tokens])
    return [list(islice(words, count)) for count in counts]
