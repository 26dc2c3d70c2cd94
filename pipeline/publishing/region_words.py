"""Words by which places on the map are named: those of features' labels, and those that they are strongest on.

Shapes: F features of one SAE, M examples, N pairs of a feature on the map and a word, W words.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.features import TOP
from data.published.terms import words
from pipeline.arrays import Ints
from pipeline.labels.words import SPACE_NAMES
from pipeline.publishing.telling import FUNCTION_WEIGHT, FUNCTION_WORDS, GRAMMAR, TellingWords, is_word

NUM_PEAKS = 5
"""Strongest examples of a feature whose words count."""
AGREEING = 2
"""Of these, the examples that must be strongest on a word."""
NOT_WORDS = SPACE_NAMES | {"ing", "don", "didn", "non", "pre", "sub"}
"""Strongest tokens that are named and no words, and pieces of words."""
LEAST_WEIGHT = 0.02
"""Places of words that tell nothing are there too, and come after those of words that do."""
FILLERS = FUNCTION_WORDS | frozenset(
    """
    near name names number numbers start starts end ends text blank line lines word words token tokens space spaces
    sentence sentences bracket brackets quotation mark marks meaning ending beginning inside outside followed preceded
    any unlabelled kind letter letters capital passage forms units time length commas semicolons hyphens dashes
    """.split()  # noqa: SIM905
)
"""Words that say how a label is put, or nothing of what it is about. Words of strongest tokens count all the same."""


GRAMMAR_NAMES = frozenset(word for name in GRAMMAR for word in name.split()) | {"ordinals"}
"""Words of labels that name a class of function words."""


class WordPairs(NamedTuple):
    """Which feature on the map has which word, each pair once."""

    point_N: Ints
    """Number of the feature, in the order in which they came."""
    word_N: Ints
    texts: list[str]
    """Of the words by number, in their most frequent spelling."""
    weight_W: npt.NDArray[np.float64]
    """How much each tells, see telling.py, LEAST_WEIGHT to 1."""


class RegionWords:
    """Collects the words of features, SAE by SAE."""

    def __init__(self, telling: TellingWords) -> None:
        self._telling = telling
        self._numbers: dict[str, int] = {}
        self._spellings: list[Counter[str]] = []
        self._found: list[list[int]] = []

    def add(self, labels: pa.Array, examples: pa.Table, index_F: Ints) -> None:
        """Add some features of an SAE, by index: `labels` and `examples` are those of the SAE."""
        peaks: dict[int, list[str]] = {}
        index_N, kind_N, rank_N = (examples[name].to_numpy() for name in ("index", "kind", "rank"))
        chosen = np.flatnonzero((kind_N == TOP) & (rank_N < NUM_PEAKS) & np.isin(index_N, index_F))
        places = (examples[name].to_numpy()[chosen].astype(np.int64) for name in ("document", "position"))
        for index, number in zip(index_N[chosen].tolist(), self._telling.at(*places).tolist(), strict=True):
            peaks.setdefault(index, []).append(self._telling.words.texts[number])
        for index in index_F.tolist():
            self._found.append(self._chosen(labels[index].as_py(), peaks.get(index, [])))

    def _chosen(self, label: str, peaks: Sequence[str]) -> list[int]:
        said = [label[word.start : word.stop] for word in words(label) if not word.sign]
        often = [word for word, times in Counter(peaks).items() if times >= AGREEING]
        wanted = [word for word in said if word.lower() not in FILLERS] + often
        return sorted({self._number(word) for word in wanted if is_word(word) and word not in NOT_WORDS})

    def _number(self, word: str) -> int:
        number = self._numbers.setdefault(word.lower(), len(self._numbers))
        if number == len(self._spellings):
            self._spellings.append(Counter())
        self._spellings[number][word] += 1
        return number

    def _weight(self, word: str) -> float:
        return self._telling.weight(word) * (FUNCTION_WEIGHT if word in GRAMMAR_NAMES else 1.0)

    def finish(self) -> WordPairs:
        """The pairs of all features that were added. A plural is the same word as its singular."""
        same_W = np.arange(len(self._numbers))
        for word, number in self._numbers.items():
            singular = self._numbers.get(word.removesuffix("s")) if word.endswith("s") else None
            if singular is not None and singular != number:
                same_W[number] = singular
                self._spellings[singular] += self._spellings[number]
        point_N = np.repeat(np.arange(len(self._found)), [len(numbers) for numbers in self._found])
        word_N = same_W[np.array([number for numbers in self._found for number in numbers], np.int64)]
        pairs = np.unique(np.stack([point_N, word_N], 1), axis=0)
        texts = [max(counts, key=lambda text: (counts[text], text)) for counts in self._spellings]
        weights = np.array([self._weight(word) for word in self._numbers], np.float64)
        return WordPairs(pairs[:, 0], pairs[:, 1], texts, np.maximum(weights, LEAST_WEIGHT))
