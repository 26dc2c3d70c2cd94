"""Frequencies of words, their traits, classes and affixes in a sample of the corpus: what is common says little.

Shapes: B windows of the background, N words.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Ints
from pipeline.labels.classes import classes_of
from pipeline.labels.rule import AFTER, BEFORE
from pipeline.labels.traits import TRAITS, KindTables, enclosed_at
from pipeline.labels.words import NONE, Words

PEAK = BEFORE
LENGTH = BEFORE + 1 + AFTER
BACKGROUND_TOKENS = 400_000


class Windows(NamedTuple):
    """Windows of token ids with the document of each."""

    ids_WL: Ints
    document_W: Ints


class Background:
    """Frequencies in a sample of the corpus, cut into windows of LENGTH."""

    def __init__(self, corpus: TokenizedCorpus, words: Words) -> None:
        ids_BL = _windows(corpus, words)
        found = words.windows(ids_BL)
        inside_BL = ids_BL != words.outside
        starts_BL = inside_BL & (found.first_WL == np.arange(LENGTH))
        size = len(words.folded_texts)
        self.num_words = int(starts_BL.sum())
        counts = np.bincount(found.folded_WL[starts_BL], minlength=size)
        self._share = counts / max(self.num_words, 1)
        row_B = np.broadcast_to(np.arange(len(ids_BL))[:, None], ids_BL.shape)
        seen = np.unique(row_B * size + found.folded_WL) % size
        self._window_share = np.bincount(seen, minlength=size) / max(len(ids_BL), 1)
        rows, first_B = np.arange(len(ids_BL)), found.first_WL[:, PEAK]
        before_B = np.where(first_B > 0, found.surface_WL[rows, np.maximum(first_B - 1, 0)], NONE)
        flags = KindTables(words).kinds(found.surface_WL[rows, first_B], before_B)
        flags |= enclosed_at(words, ids_BL, first_B)
        centre_B = inside_BL[:, PEAK]
        self.traits = {name: float(flags[name][centre_B].mean()) if centre_B.any() else 0.0 for name in TRAITS}
        self.affixes, self.classes = _tally(words, counts)

    def share(self, folded: int) -> float:
        """Share of a word among all words, never quite zero."""
        known = float(self._share[folded]) if folded < len(self._share) else 0.0
        return max(known, 0.5 / max(self.num_words, 1))

    def window_shares(self, folded_N: Ints) -> npt.NDArray[np.float64]:
        """Share of the windows that hold each word, smoothed [N]."""
        size = len(self._window_share)
        known_N = np.where(folded_N < size, self._window_share[np.minimum(folded_N, size - 1)], 0.0)
        return np.maximum(known_N, 1e-4)


def affixes_of(text: str) -> list[str]:
    """`-ed`, `un-`: what a word of letters begins and ends with, two to four letters, where two more are left."""
    lengths = [n for n in (4, 3, 2) if len(text) > n + 2] if text.isalpha() else []
    return [affix for n in lengths for affix in (f"-{text[-n:]}", f"{text[:n]}-")]


def _windows(corpus: TokenizedCorpus, words: Words) -> Ints:
    """Training text cut into windows: all of it, or evenly chosen sequences when there is more than a sample needs."""
    numbers = corpus.sequence_numbers(held_out=False)
    total = int(corpus.sequences["length"][numbers].sum())
    step = max(1, -(-total // BACKGROUND_TOKENS))
    rows = []
    for number in numbers[::step].tolist():
        tokens = corpus.sequence_tokens(number).astype(np.int64)
        padded = np.full(-(-len(tokens) // LENGTH) * LENGTH, words.outside)
        padded[: len(tokens)] = tokens
        rows.append(padded.reshape(-1, LENGTH))
    return np.concatenate(rows)


def _tally(words: Words, counts: npt.NDArray[np.int64]) -> tuple[Counter[str], Counter[str]]:
    """Number of words of the sample that have each affix, and that are in each class."""
    affixes: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    for text, count in zip(words.folded_texts, counts.tolist(), strict=False):
        for affix in affixes_of(text):
            affixes[affix] += count
        for name in classes_of(text):
            classes[name] += count
    return affixes, classes
