"""Features that a newcomer should see first: those a person can tell at once what they are about.

Judged by what is published of a feature alone. It must have a label, be active on 1 in 100 to 1 in 10,000 tokens, and
at least half of its top examples must have their maximum on the same word of four letters or more. Such features come
one SAE after the other, each with another word, in the order of

    agreement x mean / max x -log10(density)

that is: its top examples agree, it is active either strongly or not at all, and it is rare.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from math import log10
from typing import Any

from data.records import EXAMPLE_KINDS
from data.vectors import PublishedRun

MIN_DENSITY, MAX_DENSITY = 1e-4, 1e-2
MIN_EXAMPLES = 10
MIN_AGREEMENT = 0.5
MIN_LETTERS = 4
CANDIDATES = 1000
"""Features of each SAE that are looked at, those with the strongest activation."""
TOP = EXAMPLE_KINDS.index("top")


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
    by_sae = [_of_sae(run, sae) for sae in saes]
    seen: set[str] = set()

    def fresh() -> Iterator[Showpiece]:
        for pieces in zip_longest(*by_sae):
            for piece in pieces:
                if piece is not None and piece.word.casefold() not in seen:
                    seen.add(piece.word.casefold())
                    yield piece

    return list(islice(fresh(), count))


def _of_sae(run: PublishedRun, sae: str) -> list[Showpiece]:
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
            scored.append((score, Showpiece(sae, feature["index"], feature["label"], word, agreement)))
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
