"""Words that tell what a text is about: how much each does, and the words at some tokens.

A word that tells something comes where its subject is, in bursts; one that holds sentences together comes everywhere.
So a word counts by how much fewer pieces of text hold it than would if its occurrences were strewn at random (as
residual inverse document frequency does, Church and Gale 1995):

    topicality = 1 - (pieces with the word + PRIOR_PIECES (1 - PRIOR)) / (pieces expected + PRIOR_PIECES)

It needs no list of words and holds for any language. The most frequent words count less all the same, and so do the
English words of FUNCTION_WORDS, which may well come in bursts (she, you).

Shapes: N tokens, P pieces, W words by folded number, M tokens that are asked for.
"""

import unicodedata
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from data.artifacts.corpus import TokenizedCorpus
from data.published.terms import JOINERS, is_unspaced
from pipeline.arrays import Ints
from pipeline.labels.classes import CLASSES
from pipeline.labels.words import Words

PIECE_TOKENS = 2_048
"""Longer documents are cut into pieces of this many tokens, so that a book counts as more than one text."""
SAMPLE_TOKENS = 4_000_000
"""The first tokens of the corpus, in which words are counted."""
PRIOR, PRIOR_PIECES = 0.4, 4.0
"""The topicality that a word has until it was seen, and how many pieces that is worth."""
OFTEN = 1e-3
"""Of a word that makes up more of the corpus, the weight falls with its share."""
AROUND = 3
"""Tokens on either side of one in which its word is sought."""
MIN_LETTERS = 3
ROWS = 1 << 16
"""Tokens looked up at once."""
GRAMMAR = (
    "forms of be", "forms of have", "modal verbs", "personal pronouns", "possessives", "articles", "conjunctions",
    "this, that and their like", "prepositions", "question words", "negations", "quantities",
)  # fmt: skip
"""Classes of words (pipeline/labels/classes.py) that hold sentences together."""
FUNCTION_WORDS = frozenset().union(*(CLASSES[name] for name in GRAMMAR)) | frozenset(
    """
    there also however either neither same than then one two first second would could does did do done don make made
    take took get got use used well very just only even still now later part like out away after before until though
    above below over per due again once perhaps probably sometimes following including
    """.split()  # noqa: SIM905
)
FUNCTION_WEIGHT = 0.3

Floats = npt.NDArray[np.float64]


class TellingWords:
    """The words of a corpus by what they tell."""

    def __init__(self, corpus: TokenizedCorpus, token_bytes: Sequence[bytes]) -> None:
        self._corpus, self.words = corpus, Words(token_bytes)
        self._num_tokens_D = corpus.documents["num_tokens"].to_numpy().astype(np.int64)

    def at(self, document_M: Ints, position_M: Ints) -> Ints:
        """The surface number of the whole word at each of some tokens [M]."""
        found = [
            self._at(document_M[start : start + ROWS], position_M[start : start + ROWS])
            for start in range(0, len(document_M), ROWS)
        ]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def weights(self, surface_M: Ints) -> Floats:
        """How much each of some words tells, 0 to 1 [M]."""
        numbers, at_M = np.unique(self.words.folded_of(surface_M), return_inverse=True)
        found: Floats = np.array([self._weight(number) for number in numbers.tolist()], np.float64)[at_M]
        return found

    def weight(self, word: str) -> float:
        """How much a word tells, 0 to 1, as it is written in a label."""
        told_W, folded = self._told_W, word.casefold()
        number = self.words.folded_number(folded)
        return _by_kind(folded) * (float(told_W[number]) if 0 < number < len(told_W) else PRIOR)

    def _weight(self, number: int) -> float:
        """Of a word by folded number."""
        told = self._told_W[number] if number < len(self._told_W) else PRIOR
        return float(told) * _by_kind(self.words.folded_texts[number])

    def _at(self, document_M: Ints, position_M: Ints) -> Ints:
        at_M = self._corpus.offsets[document_M] + position_M
        stop_M = self._corpus.offsets[document_M] + self._num_tokens_D[document_M]
        at_ML = at_M[:, None] + np.arange(-AROUND, AROUND + 1)
        inside_ML = (at_ML >= self._corpus.offsets[document_M][:, None]) & (at_ML < stop_M[:, None])
        ids_ML = self._corpus.tokens[np.where(inside_ML, at_ML, 0)].astype(np.int64)
        found: Ints = self.words.windows(np.where(inside_ML, ids_ML, self.words.outside)).surface_WL[:, AROUND]
        return found

    @cached_property
    def _told_W(self) -> Floats:
        """Topicality of the words of the sample, less for the most frequent ones."""
        num_D = self._num_tokens_D[: max(1, int(np.searchsorted(np.cumsum(self._num_tokens_D), SAMPLE_TOKENS)))]
        ids_N, piece_N, length_P = cut(np.asarray(self._corpus.tokens[: num_D.sum()], np.int64), num_D)
        gaps_N = np.flatnonzero(np.diff(piece_N, prepend=piece_N[:1]))
        found = self.words.windows(np.insert(ids_N, gaps_N, self.words.outside)[None])
        kept_N = np.ones(len(ids_N) + len(gaps_N), bool)
        kept_N[gaps_N + np.arange(len(gaps_N))] = False
        first_N = (found.first_WL[0] == np.arange(len(kept_N)))[kept_N]
        word_N = found.folded_WL[0][kept_N]
        counts_W = np.bincount(word_N[first_N], minlength=len(self.words.folded_texts))
        told_W = topicality(word_N[first_N], piece_N[first_N], length_P, len(counts_W))
        weighted_W: Floats = told_W * np.minimum(1, OFTEN * len(ids_N) / np.maximum(counts_W, 1))
        return weighted_W


def cut(ids_N: Ints, num_D: Ints) -> tuple[Ints, Ints, Ints]:
    """The tokens of some documents with the number of the piece that each is in, and the lengths of the pieces [P].

    num_D: tokens of each document.
    """
    document_N = np.repeat(np.arange(len(num_D)), num_D)
    position_N = np.arange(len(ids_N)) - (np.cumsum(num_D) - num_D)[document_N]
    starts_N = position_N % PIECE_TOKENS == 0
    piece_N = np.cumsum(starts_N) - 1
    return ids_N, piece_N, np.bincount(piece_N)


def topicality(word_N: Ints, piece_N: Ints, length_P: Ints, num_words: int) -> Floats:
    """The topicality of each word [W], from the word and the piece of every occurrence, see the top of this file."""
    count_W = np.bincount(word_N, minlength=num_words)
    pair = np.unique(word_N * len(length_P) + piece_N)
    pieces_W = np.bincount(pair // len(length_P), minlength=num_words)
    expected_W = _expected(count_W, length_P)
    told_W: Floats = np.clip(1 - (pieces_W + PRIOR_PIECES * (1 - PRIOR)) / (expected_W + PRIOR_PIECES), 0, 1)
    return told_W


def _expected(count_W: Ints, length_P: Ints) -> Floats:
    """The pieces that would hold each word if its occurrences were strewn at random [W]."""
    counts, at_W = np.unique(count_W, return_inverse=True)
    lengths, times = np.unique(length_P, return_counts=True)
    share = lengths / max(length_P.sum(), 1)
    expected = np.array([((1 - np.exp(-count * share)) * times).sum() for count in counts.tolist()])
    found: Floats = expected[at_W]
    return found


def is_word(text: str) -> bool:
    """Whether a text is one word that may tell something: letters alone, three at least where scripts have spaces."""
    letters = sum(map(str.isalpha, text))
    pure = all(c.isalpha() or c in JOINERS or unicodedata.category(c)[0] == "M" for c in text)
    return letters > 0 and pure and (letters >= MIN_LETTERS or is_unspaced(text[0]))


def _by_kind(folded: str) -> float:
    return FUNCTION_WEIGHT if folded in FUNCTION_WORDS else 1.0
