"""Showpieces: features with a label that a person looks at first.

First come those that move what the model writes toward what they are about (see responses.py). Then those about one
word: active on 1 in 100 to 1 in 10,000 tokens, with at least 10 top examples, half of them with their maximum on the
same word of four letters or more. They are sought in the published tables, among the most interesting of each SAE (see
pipeline/publishing/interest.py), and come in this order, one SAE after the other, each with another word.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any, Protocol, TypeVar

from data.artifacts.features import TOP
from data.published.tables import PublishedRun

MIN_DENSITY, MAX_DENSITY = 1e-4, 1e-2
MIN_EXAMPLES = 10
MIN_AGREEMENT = 0.5
MIN_LETTERS = 4
FEATURES_SEEN = 300
"""Features of each SAE that are looked at for showpieces, the most interesting."""


class AboutWord(Protocol):
    """A feature about a word."""

    @property
    def word(self) -> str: ...


F = TypeVar("F", bound=AboutWord)


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


def _of_sae(run: PublishedRun, sae: str) -> Iterator[Showpiece]:
    """Of one SAE, best first."""
    yield from _responding(run, sae)
    for piece in _most_interesting(run, sae, f"density >= {MIN_DENSITY} AND density <= {MAX_DENSITY}"):
        if piece.agreement >= MIN_AGREEMENT and is_long(piece.word):
            yield piece


def _responding(run: PublishedRun, sae: str) -> Iterator[Showpiece]:
    """Those that move what the model writes."""
    return _most_interesting(run, sae, "best_strength IS NOT NULL")


def _most_interesting(run: PublishedRun, sae: str, condition: str) -> Iterator[Showpiece]:
    """The most interesting live features with a label that satisfy a condition."""
    where = f"sae = '{sae}' AND live AND label != '' AND {condition}"
    columns = ["index", "label", "first_example", "num_examples"]
    table = run.list_features(where, columns, sort="interest", descending=True, limit=FEATURES_SEEN)
    features = [feature for feature in table.to_pylist() if feature["num_examples"][TOP] >= MIN_EXAMPLES]
    for feature, words in zip(features, _top_words(run, features) if features else (), strict=True):
        word, times = Counter(words).most_common(1)[0]
        yield Showpiece(sae, feature["index"], feature["label"], word, times / len(words))


def _top_words(run: PublishedRun, features: list[dict[str, Any]]) -> list[list[str]]:
    """For each feature the tokens on which its top examples are strongest, without spaces around them."""
    firsts = [feature["first_example"] + sum(feature["num_examples"][:TOP]) for feature in features]
    counts = [feature["num_examples"][TOP] for feature in features]
    rows = [row for first, count in zip(firsts, counts, strict=True) for row in range(first, first + count)]
    examples = run.take("examples", rows, ["document", "position"]).to_pydict()
    tokens = run.windows(examples["document"], examples["position"], [1] * len(rows))
    words = iter([run.vocabulary[window[0]].decode("utf-8", "replace").strip() for window in tokens])
    return [list(islice(words, count)) for count in counts]
