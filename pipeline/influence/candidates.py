"""Candidates: features with telling evidence, which are asked to write.

A feature is one when it is live (neither dead, rare nor negligible), active on at most
MAX_DENSITY of all, has a label, and its strongest examples lie in at least MIN_DOCUMENTS documents. They come one SAE
after the other, each with another word, those first whose words are least likely by chance:

    telling = sum over the TELLING_WORDS most telling words of (n ln n/e - (n - e)) / N

where n of the N documents of its examples have the word, and e are expected to; see evidence.py. Words are those that
are one token here, so that a million features can be looked at.

Shapes: F features of one SAE, V vocabulary, E strong examples, L tokens of a window, P pairs of a feature and a word.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLES_FILE, EXPLANATIONS_FILE, STATISTICS_FILE, read_kinds
from pipeline.arrays import Ints, ranks, sort_order
from pipeline.influence.evidence import (
    AFTER,
    BEFORE,
    SAMPLE_TOKENS,
    WINDOW,
    Background,
    Evidence,
    read_evidence,
    strong_examples,
    words_of,
)
from pipeline.influence.showpieces import take_turns
from pipeline.recipe import ExamplesConfig

MAX_DENSITY = 0.05
MIN_LETTERS = 4
MIN_DOCUMENTS = 5
MIN_WORD_DOCUMENTS = 3
MIN_LIFT = 4
"""A word must stand in so many times more documents than expected."""
MAX_SHARE = 0.01
TELLING_WORDS = 6
MAX_TELLING = 1.0
FEATURES_AT_ONCE = 4096
NO_EVIDENCE = Evidence((), ())


@dataclass(frozen=True)
class Candidate:
    """A feature with telling evidence."""

    sae: str
    index: int
    label: str
    word: str
    """The most telling word."""
    max: float
    """Its highest activation on the corpus, in the residual stream's units."""
    telling: float
    """See the top of this file."""
    evidence: Evidence = NO_EVIDENCE

    @property
    def is_named(self) -> bool:
        """Whether its label says one of its words, so that a reader sees what a text is about."""
        return not set(words_of(self.label)).isdisjoint(self.evidence.words)


class Features:
    """The features of a run by its artifacts, before it is published."""

    def __init__(
        self,
        corpus: TokenizedCorpus,
        examples: Path,
        explanations: Path,
        pieces: Sequence[bytes],
        config: ExamplesConfig,
    ) -> None:
        """examples, explanations: artifacts of these stages. pieces: the bytes of every token by id."""
        self._corpus, self._examples, self._explanations = corpus, examples, explanations
        self._pieces, self._num_bands, self._rare_tokens = pieces, config.bands, config.rare_tokens
        texts = [piece.decode("utf-8", "replace") for piece in pieces]
        numbers: dict[str, int] = {}
        self._word_V = np.array([numbers.setdefault(text.strip().casefold(), len(numbers)) for text in texts], np.int64)
        self._words = list(numbers)
        self._whole_V = np.array([_is_word(text) for text in texts])
        self._share_W = self._window_shares()

    def candidates(self, saes: Sequence[str], count: int) -> list[Candidate]:
        """Up to `count` candidates with their evidence, see the top of this file."""
        chosen = [
            one
            for place, sae in enumerate(saes)
            for one in take_turns([self._of_sae(sae)], len(range(place, count, len(saes))))
        ]
        background = Background(self._corpus, self._pieces)
        return [one for sae in saes for one in self._with_evidence(sae, chosen, background)]

    def _of_sae(self, sae: str) -> Iterator[Candidate]:
        """Of one SAE, without evidence, best first."""
        statistics = read_arrow(self._examples / sae / STATISTICS_FILE)
        max_F, density_F = (statistics[name].to_numpy() for name in ("max", "density"))
        labels = read_arrow(self._explanations / sae / EXPLANATIONS_FILE)["label"].combine_chunks()
        fitting_F = read_kinds(statistics, self._rare_tokens).live_F & (density_F <= MAX_DENSITY)
        fitting_F &= labels.to_numpy(zero_copy_only=False) != ""
        telling_F, word_F = self._telling(read_arrow(self._examples / sae / EXAMPLES_FILE), fitting_F)
        for feature in np.argsort(-telling_F, kind="stable").tolist():
            if telling_F[feature] <= 0:
                return
            word, label = self._words[word_F[feature]], labels[feature].as_py()
            yield Candidate(sae, feature, label, word, float(max_F[feature]), float(telling_F[feature]))

    def _telling(self, examples: pa.Table, fitting_F: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], Ints]:
        """How telling the words of each feature are, and the number of the most telling one, each [F]."""
        index_N = examples["index"].to_numpy()
        rows_E = np.flatnonzero(strong_examples(examples, self._num_bands, self._corpus) & fitting_F[index_N])
        telling_F, word_F = np.zeros(len(fitting_F)), np.zeros(len(fitting_F), np.int64)
        chunks = np.flatnonzero(np.diff(index_N[rows_E] // FEATURES_AT_ONCE, prepend=-1))
        for rows in np.split(rows_E, chunks[1:]) if len(rows_E) else ():
            column = {
                name: examples[name].take(pa.array(rows)).to_numpy().astype(np.int64)
                for name in ("index", "document", "position", "start", "length")
            }
            self._add_telling(column, telling_F, word_F)
        return telling_F, word_F

    def _add_telling(self, column: dict[str, Ints], telling_F: npt.NDArray[np.float64], word_F: Ints) -> None:
        """Fill in what some features' examples tell."""
        size, feature_E, document_E = len(self._words), column["index"], column["document"]
        word_EL = self._window_words(column)
        e, column_L = np.nonzero(word_EL >= 0)
        pair_N, document_N = feature_E[e] * size + word_EL[e, column_L], document_E[e]
        order = sort_order(pair_N, document_N)
        pair_N, document_N = pair_N[order], document_N[order]
        new_N = (np.diff(pair_N, prepend=-1) != 0) | (np.diff(document_N, prepend=-1) != 0)
        pair_P, count_P = np.unique(pair_N[new_N], return_counts=True)
        feature_P, word_P = np.divmod(pair_P, size)
        documents = np.unique((feature_E << 32) | document_E) >> 32
        total_P = np.bincount(documents, minlength=len(telling_F))[feature_P]
        expected_P = total_P * self._share_W[word_P]
        kept = (count_P >= MIN_WORD_DOCUMENTS) & (count_P > MIN_LIFT * expected_P) & (total_P >= MIN_DOCUMENTS)
        kept &= self._share_W[word_P] <= MAX_SHARE
        feature_P, word_P = feature_P[kept], word_P[kept]
        count_P, expected_P, total_P = count_P[kept], expected_P[kept], total_P[kept]
        surprise_P = count_P * np.log(count_P / expected_P) - (count_P - expected_P)
        order = np.lexsort((-surprise_P, feature_P))
        rank_P = ranks(feature_P[order])
        best = order[rank_P < TELLING_WORDS]
        np.add.at(telling_F, feature_P[best], np.minimum(surprise_P[best] / total_P[best], MAX_TELLING))
        first = order[rank_P == 0]
        word_F[feature_P[first]] = word_P[first]

    def _window_words(self, column: dict[str, Ints]) -> Ints:
        """The number of the word at each place of the examples' windows [E, L], -1 where none begins that counts."""
        at_EL = column["position"][:, None] + np.arange(-BEFORE, AFTER + 1)
        inside_EL = (at_EL >= column["start"][:, None]) & (at_EL < (column["start"] + column["length"])[:, None])
        offset_E1 = self._corpus.offsets[column["document"]][:, None]
        ids_EL = self._corpus.tokens[np.where(inside_EL, offset_E1 + at_EL, 0)].astype(np.int64)
        words: Ints = np.where(inside_EL & self._whole_V[ids_EL], self._word_V[ids_EL], -1)
        return words

    def _window_shares(self) -> npt.NDArray[np.float64]:
        """The share of the corpus's windows that have each word, smoothed [W]."""
        tokens = self._corpus.tokens[:SAMPLE_TOKENS].astype(np.int64)
        num_windows = max(1, len(tokens) // WINDOW)
        ids = tokens[: num_windows * WINDOW]
        window = np.arange(len(ids)) // WINDOW
        pairs = np.unique((window * len(self._words) + self._word_V[ids])[self._whole_V[ids]])
        counts_W = np.bincount(pairs % len(self._words), minlength=len(self._words))
        return (counts_W + 0.5) / (num_windows + 1)

    def _with_evidence(self, sae: str, chosen: Sequence[Candidate], background: Background) -> Iterator[Candidate]:
        """The chosen ones of one SAE that have evidence, in order."""
        of_sae = {one.index: one for one in chosen if one.sae == sae}
        if not of_sae:
            return
        examples = read_arrow(self._examples / sae / EXAMPLES_FILE)
        mine = np.isin(examples["index"].to_numpy(), list(of_sae))
        found = read_evidence(examples.filter(mine), self._num_bands, self._corpus, self._pieces, background)
        for index, one in of_sae.items():
            if index in found and found[index].words:
                yield replace(one, evidence=found[index])


def _is_word(text: str) -> bool:
    """Whether a token is the beginning of a word, and of letters enough to be one."""
    return text[:1].isspace() and text.strip().isalpha() and len(text.strip()) >= MIN_LETTERS
