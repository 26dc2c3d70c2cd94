"""Evidence of what a feature is about: words around its strongest tokens that are unlikely in the corpus at large.

A word is a run of at least MIN_LETTERS letters, in upper or lower case. Around each strong example of a feature (`top`,
and `interval` of the upper bands) lies a window of at most BEFORE + 1 + AFTER tokens; what counts is in how many of the
documents of these windows a word stands, n of N, against the share q of all windows of the corpus that have it:

    weight = log-odds = ln (n + 1/2) / (N - n + 1/2) - ln q / (1 - q)

A word is evidence when it stands in at least MIN_DOCUMENTS documents, its log-odds are at least MIN_LOG_ODDS, and q is
at most MAX_SHARE. The most telling word is the one whose n is least likely by chance.

Shapes: N examples, P pairs of a feature and a word.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.contexts import context_hashes
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import INTERVAL, TOP
from pipeline.arrays import first_of_pairs

BEFORE, AFTER = 20, 12
WINDOW = BEFORE + 1 + AFTER
SAMPLE_TOKENS = 4_000_000
"""The first tokens of the corpus, in which words are counted."""
MIN_LETTERS = 3
MIN_DOCUMENTS = 3
MIN_LOG_ODDS = 2.0
MAX_SHARE = 0.05
MAX_WORDS = 30
STRONG_BANDS = 3 / 5
"""Examples of bands from this share of the range on are strong."""

_WORD = re.compile(r"[^\W\d_]+")


def words_of(text: str) -> list[str]:
    """The words of a text, folded, in order."""
    return [word for word in _WORD.findall(text.casefold()) if len(word) >= MIN_LETTERS]


def word_starts(text: str) -> dict[str, int]:
    """The character with which each of its different words begins for the first time."""
    starts: dict[str, int] = {}
    for found in _WORD.finditer(text):
        word = found[0].casefold()
        if len(word) >= MIN_LETTERS:
            starts.setdefault(word, found.start())
    return starts


@dataclass(frozen=True)
class Evidence:
    """Words that a feature is about."""

    words: tuple[str, ...]
    """The most telling first."""
    weights: tuple[float, ...]
    """Log-odds of each."""


class Background:
    """Shares of the corpus's windows that have a word."""

    def __init__(self, corpus: TokenizedCorpus, pieces: Sequence[bytes]) -> None:
        """pieces: the bytes of every token by id."""
        tokens = corpus.tokens[:SAMPLE_TOKENS].tolist()
        self._counts: Counter[str] = Counter()
        for start in range(0, len(tokens), WINDOW):
            self._counts.update(set(words_of(decode(tokens[start : start + WINDOW], pieces))))
        self._windows = -(-len(tokens) // WINDOW)

    def share(self, word: str) -> float:
        """The share of a word, never quite 0 or 1."""
        return (self._counts[word] + 0.5) / (self._windows + 1)


def decode(tokens: Iterable[int], pieces: Sequence[bytes]) -> str:
    """The text of some tokens."""
    return b"".join(pieces[token] for token in tokens).decode("utf-8", "replace")


def weigh(documents: Sequence[set[str]], background: Background) -> Evidence:
    """The evidence in the words of some documents' windows."""
    total = len(documents)
    counts = Counter(word for words in documents for word in words)
    found = []
    for word, count in counts.items():
        share = background.share(word)
        odds = float(np.log((count + 0.5) / (total - count + 0.5)) - np.log(share / (1 - share)))
        if count >= MIN_DOCUMENTS and odds >= MIN_LOG_ODDS and share <= MAX_SHARE:
            expected = total * share
            found.append((count * float(np.log(count / expected)) - (count - expected), word, odds))
    found = sorted(found, key=lambda one: (-one[0], one[1]))[:MAX_WORDS]
    return Evidence(tuple(word for _, word, _ in found), tuple(odds for _, _, odds in found))


def read_evidence(
    examples: pa.Table, num_bands: int, corpus: TokenizedCorpus, pieces: Sequence[bytes], background: Background
) -> dict[int, Evidence]:
    """The evidence of each feature of a table of EXAMPLES, by its index."""
    documents: defaultdict[int, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    columns = ("index", "document", "position", "start", "length")
    strong = examples.filter(strong_examples(examples, num_bands, corpus))
    for index, document, position, start, length in zip(*(strong[name].to_pylist() for name in columns), strict=True):
        first = max(start, position - BEFORE)
        stop = min(start + length, position + AFTER + 1)
        text = decode(corpus.stretch(document, first, stop - first).tolist(), pieces)
        documents[index][document].update(words_of(text))
    return {index: weigh(list(of_feature.values()), background) for index, of_feature in documents.items()}


def strong_examples(examples: pa.Table, num_bands: int, corpus: TokenizedCorpus) -> npt.NDArray[np.bool_]:
    """Mask of the examples that are evidence, of those in the same context one for each feature [N]."""
    kind_N, band_N = (examples[name].to_numpy() for name in ("kind", "band"))
    strong = np.flatnonzero((kind_N == TOP) | ((kind_N == INTERVAL) & (band_N >= num_bands * STRONG_BANDS)))
    index_M, document_M, position_M = (
        examples[name].to_numpy()[strong].astype(np.int64) for name in ("index", "document", "position")
    )
    mask_N = np.zeros(len(kind_N), bool)
    mask_N[strong[first_of_pairs(index_M, context_hashes(corpus, document_M, position_M))]] = True
    return mask_N
