"""Words by which places on the map are named: those of features' labels, and those that they are strongest on.

Shapes: F features of one SAE, M examples, N pairs of a feature on the map and a word, W words.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import TOP
from data.published.terms import words
from pipeline.arrays import Ints
from pipeline.labels.words import SPACE_NAMES, Words

NUM_PEAKS = 5
"""Strongest examples of a feature whose words count."""
AGREEING = 2
"""Of these, the examples that must be strongest on a word."""
AROUND = 3
"""Tokens on either side in which the strongest one's word is sought."""
SHORTEST = 3
"""Letters of a word, at least."""
NOT_WORDS = SPACE_NAMES | {"ing", "don", "didn", "non", "pre", "sub"}
"""Strongest tokens that are named and no words, and pieces of words."""
ROWS = 1 << 16
"""Examples read at once."""
FUNCTION_WORDS = frozenset(
    """
    the and for with from into its his her him our their they them she that this these those there are was were been
    being has had have not nor but who whom which what when where while why how also after before because since until
    though although however any all both each every either neither some such same then than between other others about
    over under above below out off along during within among along upon per one two first second would could should
    will can may might must did does don make made take took get got use used well most more many much very just only
    even still now later until due part such like through across against between toward towards without another
    """.split()  # noqa: SIM905
)
FUNCTION_WEIGHT = 0.3
"""Places of function words are there too, and come after those of words that say what they are about."""
FILLERS = FUNCTION_WORDS | frozenset(
    """
    near name names number numbers start starts end ends text blank line lines word words token tokens space spaces
    sentence sentences bracket brackets quotation mark marks meaning ending beginning inside outside followed preceded
    any unlabelled kind letter letters capital passage
    """.split()  # noqa: SIM905
)
"""Words that say how a label is put, or nothing of what it is about. Words of strongest tokens count all the same."""


class WordPairs(NamedTuple):
    """Which feature on the map has which word, each pair once."""

    point_N: Ints
    """Number of the feature, in the order in which they came."""
    word_N: Ints
    texts: list[str]
    """Of the words by number, in their most frequent spelling."""
    weight_W: npt.NDArray[np.float64]
    """FUNCTION_WEIGHT of a function word, 1 of others."""


class RegionWords:
    """Collects the words of features, SAE by SAE."""

    def __init__(self, corpus: TokenizedCorpus, token_bytes: Sequence[bytes]) -> None:
        self._corpus, self._words = corpus, Words(token_bytes)
        self._numbers: dict[str, int] = {}
        self._spellings: list[Counter[str]] = []
        self._found: list[list[int]] = []

    def add(self, labels: pa.Array, examples: pa.Table, index_F: Ints) -> None:
        """Add some features of an SAE, by index: `labels` and `examples` are those of the SAE."""
        peaks: dict[int, list[str]] = {}
        index_N, kind_N, rank_N = (examples[name].to_numpy() for name in ("index", "kind", "rank"))
        chosen = np.flatnonzero((kind_N == TOP) & (rank_N < NUM_PEAKS) & np.isin(index_N, index_F))
        for start in range(0, len(chosen), ROWS):
            some = chosen[start : start + ROWS]
            found = self._peaks(
                *(examples[name].to_numpy()[some].astype(np.int64) for name in ("document", "position"))
            )
            for index, word in zip(index_N[some].tolist(), found, strict=True):
                peaks.setdefault(index, []).append(word)
        for index in index_F.tolist():
            self._found.append(self._chosen(labels[index].as_py(), peaks.get(index, [])))

    def _peaks(self, document_M: Ints, position_M: Ints) -> list[str]:
        """The whole word at each of some tokens."""
        at_M = self._corpus.offsets[document_M] + position_M
        stop_M = self._corpus.offsets[document_M] + self._corpus.documents["num_tokens"].to_numpy()[document_M]
        at_ML = at_M[:, None] + np.arange(-AROUND, AROUND + 1)
        inside_ML = (at_ML >= self._corpus.offsets[document_M][:, None]) & (at_ML < stop_M[:, None])
        ids_ML = self._corpus.tokens[np.where(inside_ML, at_ML, 0)].astype(np.int64)
        surface_ML = self._words.windows(np.where(inside_ML, ids_ML, self._words.outside)).surface_WL
        return [self._words.texts[number] for number in surface_ML[:, AROUND].tolist()]

    def _chosen(self, label: str, peaks: Sequence[str]) -> list[int]:
        said = [label[word.start : word.stop] for word in words(label) if not word.sign]
        often = [word for word, times in Counter(peaks).items() if times >= AGREEING]
        wanted = [word for word in said if word.lower() not in FILLERS] + often
        return sorted(
            {
                self._number(word)
                for word in wanted
                if len(word) >= SHORTEST and word.isalpha() and word not in NOT_WORDS
            }
        )

    def _number(self, word: str) -> int:
        number = self._numbers.setdefault(word.lower(), len(self._numbers))
        if number == len(self._spellings):
            self._spellings.append(Counter())
        self._spellings[number][word] += 1
        return number

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
        weights = [FUNCTION_WEIGHT if word in FUNCTION_WORDS else 1.0 for word in self._numbers]
        return WordPairs(pairs[:, 0], pairs[:, 1], texts, np.array(weights, np.float64))
