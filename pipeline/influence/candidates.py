"""Features about one word: candidates, which are asked to write, and showpieces, which a person looks at first.

Either must have a label, be active on 1 in 100 to 1 in 10,000 tokens, and have at least 10 top examples, half of them
with their maximum on the same word of four letters or more. They come one SAE after the other, each with another word,
in the order of

    agreement x mean / max x -log10(density)

Candidates are sought among all features before a run is published, and their word must be rare: at most MAX_WORD_SHARE
of the tokens. Showpieces are sought in the published tables, among the STRONGEST_FEATURES of each SAE.

Shapes: F features of one SAE, E top examples of those that qualify, V vocabulary, W different words of tokens, C
features whose examples agree.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLES_FILE, EXPLANATIONS_FILE, STATISTICS_FILE, TOP
from data.published.tables import PublishedRun
from pipeline.arrays import Ints

MIN_DENSITY, MAX_DENSITY = 1e-4, 1e-2
MIN_EXAMPLES = 10
MIN_AGREEMENT = 0.5
MIN_LETTERS = 4
MAX_WORD_SHARE = 5e-4
SAMPLE_TOKENS = 4_000_000
"""The first tokens of the corpus, in which words are counted."""
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


# ---- Candidates, of artifacts


@dataclass(frozen=True)
class Candidate:
    """A feature about a word."""

    sae: str
    index: int
    label: str
    word: str
    """On which its top examples are strongest."""
    tokens: tuple[int, ...]
    """Ids of the tokens that are this word, with a space or without, in upper or lower case."""
    max: float
    """Its highest activation on the corpus, in the residual stream's units."""


class Features:
    """The features of a run by its artifacts, before it is published."""

    def __init__(self, corpus: TokenizedCorpus, examples: Path, explanations: Path, pieces: Sequence[bytes]) -> None:
        """examples, explanations: artifacts of these stages. pieces: the bytes of every token by id."""
        self._corpus, self._examples, self._explanations = corpus, examples, explanations
        numbers: dict[str, int] = {}
        texts = [piece.decode("utf-8", "replace").strip() for piece in pieces]
        self._word_V = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
        self._words = list(numbers)
        self._tokens: dict[str, list[int]] = {}
        for token, text in enumerate(texts):
            self._tokens.setdefault(text.casefold(), []).append(token)
        counts_V = np.bincount(corpus.tokens[:SAMPLE_TOKENS], minlength=len(pieces))[: len(pieces)]
        counts_W = np.bincount(self._word_V, counts_V, minlength=len(numbers))
        long_W = np.array([is_long(word) for word in self._words])
        self._fitting_W = long_W & (counts_W <= MAX_WORD_SHARE * counts_V.sum())

    def candidates(self, saes: Sequence[str], count: int) -> list[Candidate]:
        """Up to `count` candidates, see the top of this file."""
        return take_turns([self._of_sae(sae) for sae in saes], count)

    def _of_sae(self, sae: str) -> Iterator[Candidate]:
        """Of one SAE, best first."""
        statistics = read_arrow(self._examples / sae / STATISTICS_FILE)
        max_F, mean_F, density_F = (statistics[name].to_numpy() for name in ("max", "mean", "density"))
        labels = read_arrow(self._explanations / sae / EXPLANATIONS_FILE)["label"].combine_chunks()
        fitting_F = (density_F >= MIN_DENSITY) & (density_F <= MAX_DENSITY)
        fitting_F &= labels.to_numpy(zero_copy_only=False) != ""
        index_C, word_C, share_C = self._agreed(read_arrow(self._examples / sae / EXAMPLES_FILE), fitting_F)
        score_C = score(share_C, mean_F[index_C], max_F[index_C], density_F[index_C])
        for place in np.argsort(-score_C, kind="stable").tolist():
            feature, word = int(index_C[place]), self._words[word_C[place]]
            tokens = tuple(self._tokens[word.casefold()])
            yield Candidate(sae, feature, labels[feature].as_py(), word, tokens, float(max_F[feature]))

    def _agreed(
        self, examples: pa.Table, fitting_F: npt.NDArray[np.bool_]
    ) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
        """Features whose top examples agree: index, number of the word, share of the examples on it, each [C]."""
        index_N, kind_N = examples["index"].to_numpy(), examples["kind"].to_numpy()
        rows_E = np.flatnonzero((kind_N == TOP) & fitting_F[index_N])
        feature_E = index_N[rows_E].astype(np.int64)
        document_E, position_E = (examples[name].to_numpy()[rows_E] for name in ("document", "position"))
        word_E = self._word_V[self._corpus.tokens[self._corpus.offsets[document_E] + position_E]]
        pairs, times = np.unique(feature_E * len(self._words) + word_E, return_counts=True)
        feature, word = np.divmod(pairs, len(self._words))
        total = np.bincount(feature_E, minlength=len(fitting_F))[feature]
        share = times / total
        kept = np.flatnonzero((total >= MIN_EXAMPLES) & (share >= MIN_AGREEMENT) & self._fitting_W[word])
        kept = kept[np.unique(feature[kept], return_index=True)[1]]  # of two words with half each the first counts
        return feature[kept], word[kept], share[kept]


# ---- Showpieces, of what is published


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
