"""Evidence of what the strongest examples of a feature share: counted, and compared with the corpus at large.

For every feature some windows around its strongest tokens (`top`, and `interval` of the upper bands) are cut into
words. What counts is the word that holds the peak, its neighbours, what kind of place it is, and which words stand near
it in more documents than chance would have it. Chance is measured on a sample of the corpus, cut into windows of the
same size.

Shapes: W windows, L tokens of a window, B windows of the background, F features of a chunk.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import INTERVAL, TOP
from pipeline.arrays import Ints, pack_tokens, ranks, sort_order
from pipeline.labels.words import NONE, Words, WordWindows

BEFORE, AFTER = 20, 12
"""Tokens of a window on either side of the peak."""
PEAK = BEFORE
LENGTH = BEFORE + 1 + AFTER
BACKGROUND_TOKENS = 400_000
KINDS = ("year", "number", "name", "text start", "line start", "sentence start")
"""Traits of a word: its kind, and its place in the text."""
TRAITS = (*KINDS, "in brackets", "in quotation marks")
MAX_NEAR = 6
MIN_NEAR_DOCUMENTS = 3
MAX_NEAR_SHARE = 0.02
"""A word that occurs in more of all windows says little by being near."""
SENTENCE_ENDS = {".", "!", "?"}
LINE_ENDS = {"line break", "blank line"}

Flags = npt.NDArray[np.bool_]


class Windows(NamedTuple):
    """Windows of token ids with the document of each."""

    ids_WL: Ints
    document_W: Ints


class Evidence(NamedTuple):
    """Facts about one feature's strongest examples, one item for each, strongest first."""

    words: list[int]
    """Surface number of the word that holds the peak."""
    before: list[int]
    after: list[int]
    """Its neighbours' surface numbers."""
    pieces: list[int]
    """Token id of the peak, which may be part of its word."""
    near: list[tuple[int, float]]
    """Words (folded numbers) that stand near in unlikely many documents, with their share, least likely first."""
    traits: dict[str, float]
    """Share of the examples with each of TRAITS."""
    traits_before: dict[str, float]
    """The same for the word before, of KINDS."""
    traits_after: dict[str, float]
    """The same for the word after."""


class Background:
    """Frequencies of words and traits in a sample of the corpus."""

    def __init__(self, corpus: TokenizedCorpus, words: Words) -> None:
        self._words = words
        windows = _background_windows(corpus, words)
        found = words.windows(windows.ids_WL)
        inside_WL = windows.ids_WL != words.outside
        starts_WL = inside_WL & (found.first_WL == np.arange(found.first_WL.shape[1]))
        size = len(words.folded_texts)
        self.num_words = int(starts_WL.sum())
        counts = np.bincount(found.folded_WL[starts_WL], minlength=size)
        self._share = counts / max(self.num_words, 1)
        row_B = np.broadcast_to(np.arange(len(found.folded_WL))[:, None], found.folded_WL.shape)
        seen = np.unique(row_B * size + found.folded_WL) % size
        self._window_share = np.bincount(seen, minlength=size) / max(len(found.folded_WL), 1)
        flags = traits_at(words, windows, found, np.full(len(windows.ids_WL), PEAK))
        centre = inside_WL[:, PEAK]
        self.traits = {name: float(flags[name][centre].mean()) if centre.any() else 0.0 for name in TRAITS}
        self.affixes = _affixes(words, counts)

    def knows(self, text: str) -> bool:
        """Whether the sample of the corpus has this word."""
        number = self._words.folded_number(text)
        return number != NONE and number < len(self._share) and bool(self._share[number] > 0)

    def share(self, folded: int) -> float:
        """Share of a word among all words, never quite zero."""
        known = float(self._share[folded]) if folded < len(self._share) else 0.0
        return max(known, 0.5 / max(self.num_words, 1))

    def window_shares(self, folded_N: Ints) -> npt.NDArray[np.float64]:
        """Share of the windows that hold each word, smoothed."""
        size = len(self._window_share)
        known_N = np.where(folded_N < size, self._window_share[np.minimum(folded_N, size - 1)], 0.0)
        return np.maximum(known_N, 1e-4)


def read_evidence(
    examples: pa.Table, num_bands: int, corpus: TokenizedCorpus, words: Words, background: Background
) -> Iterator[tuple[int, Evidence]]:
    """The evidence of each feature that has examples, by its index, for a table of EXAMPLES of some features."""
    kind_N, band_N = (examples[name].to_numpy() for name in ("kind", "band"))
    strong_N = kind_N == TOP
    strong_N |= (kind_N == INTERVAL) & (band_N >= num_bands * 3 / 5)
    column = {
        name: examples[name].to_numpy()[strong_N].astype(np.int64)
        for name in ("index", "document", "position", "start", "length")
    }
    # The same token may be an example twice.
    token_N = pack_tokens(column["document"], column["position"])
    order = sort_order(column["index"], token_N)
    again = np.concatenate([[False], (np.diff(column["index"][order]) == 0) & (np.diff(token_N[order]) == 0)])
    kept = np.sort(order[~again]) if len(order) else order
    column = {name: values[kept] for name, values in column.items()}
    if len(kept):
        yield from _evidence(column["index"], _windows_at(column, corpus, words), words, background)


def _evidence(
    feature_W: Ints, windows: Windows, words: Words, background: Background
) -> Iterator[tuple[int, Evidence]]:
    found = words.windows(windows.ids_WL)
    rows = np.arange(len(feature_W))
    first_W, next_W = found.first_WL[:, PEAK], found.next_WL[:, PEAK]
    before_W, after_W = first_W - 1, np.minimum(next_W, LENGTH - 1)
    surface_WL = found.surface_WL
    before = np.where(before_W >= 0, surface_WL[rows, before_W], NONE).tolist()
    after = np.where(next_W < LENGTH, surface_WL[rows, after_W], NONE).tolist()
    piece = windows.ids_WL[:, PEAK].tolist()
    peak = surface_WL[:, PEAK].tolist()
    here = traits_at(words, windows, found, first_W)
    near = _near_words(feature_W, windows.document_W, found, words, background)
    beside = [kinds_at(words, found, at) for at in (np.maximum(before_W, 0), after_W)]
    cuts = np.flatnonzero(np.diff(feature_W, prepend=-1, append=-1))
    sides = [{name: _shares(flag_W, cuts) for name, flag_W in flags.items()} for flags in (here, *beside)]
    for place, (start, stop) in enumerate(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)):
        some = slice(start, stop)
        index = int(feature_W[start])
        traits = [{name: share[place] for name, share in shares.items()} for shares in sides]
        yield index, Evidence(peak[some], before[some], after[some], piece[some], near.get(index, []), *traits)


def _shares(flag_W: Flags, cuts: Ints) -> list[float]:
    """The share of the windows with a flag in each run between two cuts."""
    shares: list[float] = (np.add.reduceat(flag_W.astype(np.int64), cuts[:-1]) / np.diff(cuts)).tolist()
    return shares


def kinds_at(words: Words, found: WordWindows, column_W: Ints) -> dict[str, Flags]:
    """Whether the word at a column of each window is of each of KINDS [W]."""
    rows = np.arange(len(column_W))
    here_W = found.surface_WL[rows, column_W]
    first_W = found.first_WL[rows, column_W]
    before_W = np.where(first_W > 0, found.surface_WL[rows, np.maximum(first_W - 1, 0)], NONE)
    tables = _tables(words)
    text_W = (before_W == NONE) & (here_W != NONE)
    line_W = tables["ends line"][before_W] & (here_W != NONE)
    sentence_W = (tables["ends sentence"][before_W] & (here_W != NONE)) | line_W | text_W
    return {
        "year": tables["year"][here_W],
        "number": tables["number"][here_W],
        "name": tables["capital"][here_W] & ~sentence_W,
        "text start": text_W,
        "line start": line_W,
        "sentence start": sentence_W,
    }


def traits_at(words: Words, windows: Windows, found: WordWindows, column_W: Ints) -> dict[str, Flags]:
    """Whether the place at a column of each window has each of TRAITS [W]."""
    flags = kinds_at(words, found, column_W)
    columns = np.arange(found.surface_WL.shape[1])
    earlier_WL = columns < column_W[:, None]
    for name, marks_V in words.marks_V.items():
        marks_WL = np.where(earlier_WL, marks_V[windows.ids_WL], 0)
        opened_W, closed_W = (np.where(marks_WL == mark, columns, -1).max(axis=1) for mark in (1, -1))
        flags[name] = opened_W > closed_W
    return flags


def _tables(words: Words) -> dict[str, Flags]:
    """For every word, by surface number, what kind it is."""
    texts = words.texts
    tables = {
        "year": [len(t) == 4 and t.isdecimal() and t[0] in "12" for t in texts],
        "number": [t[:1].isdecimal() for t in texts],
        "capital": [t[:1].isupper() for t in texts],
        "ends line": [t in LINE_ENDS for t in texts],
        "ends sentence": [t in LINE_ENDS or t[-1:] in SENTENCE_ENDS for t in texts],
    }
    return {name: np.array(values, bool) for name, values in tables.items()}


def _near_words(
    feature_W: Ints, document_W: Ints, found: WordWindows, words: Words, background: Background
) -> dict[int, list[tuple[int, float]]]:
    """For each feature the words near its peaks that stand in unlikely many of its documents."""
    L = found.folded_WL.shape[1]
    telling = np.array([len(text) > 2 and text.isalpha() for text in words.folded_texts])
    telling &= background.window_shares(np.arange(len(telling))) <= MAX_NEAR_SHARE
    columns = np.arange(L)
    peak_word_WL = found.first_WL == found.first_WL[:, PEAK : PEAK + 1]
    wanted_WL = telling[found.folded_WL] & (found.first_WL == columns) & ~peak_word_WL
    row, column = np.nonzero(wanted_WL)
    size = len(words.folded_texts)
    pair_N = feature_W[row] * size + found.folded_WL[row, column]
    order = sort_order(pair_N, document_W[row])
    pair_N, document_N = pair_N[order], document_W[row][order]
    new_N = (np.diff(pair_N, prepend=-1) != 0) | (np.diff(document_N, prepend=-1) != 0)
    pair_P, count_P = np.unique(pair_N[new_N], return_counts=True)
    feature_P, word_P = np.divmod(pair_P, size)
    documents = _distinct(feature_W, document_W)
    total_P = np.array([documents[f] for f in feature_P.tolist()], np.float64)
    expected_P = total_P * background.window_shares(word_P)
    # How surprising the count is under a Poisson law (twice this is its deviance); fewer than expected do not count.
    surprise_P = count_P * np.log(count_P / expected_P) - (count_P - expected_P)
    strong = np.flatnonzero((count_P >= MIN_NEAR_DOCUMENTS) & (count_P > 4 * expected_P))
    strong = strong[np.lexsort((-surprise_P[strong], feature_P[strong]))]
    strong = strong[ranks(feature_P[strong]) < MAX_NEAR]
    near: dict[int, list[tuple[int, float]]] = {}
    for p in strong.tolist():
        near.setdefault(int(feature_P[p]), []).append((int(word_P[p]), float(count_P[p] / total_P[p])))
    return near


def _distinct(feature_W: Ints, document_W: Ints) -> Counter[int]:
    """In how many documents each feature's windows lie."""
    pairs = np.unique((feature_W << 32) | document_W)
    return Counter((pairs >> 32).tolist())


def _windows_at(column: dict[str, Ints], corpus: TokenizedCorpus, words: Words) -> Windows:
    """Windows around examples, as far as their own windows reach."""
    at_WL = column["position"][:, None] + np.arange(-BEFORE, AFTER + 1)
    start_W, stop_W = column["start"][:, None], (column["start"] + column["length"])[:, None]
    inside_WL = (at_WL >= start_W) & (at_WL < stop_W)
    offset_W = corpus.offsets[column["document"]]
    ids_WL = corpus.tokens[np.where(inside_WL, offset_W[:, None] + at_WL, 0)].astype(np.int64)
    return Windows(np.where(inside_WL, ids_WL, words.outside), column["document"])


def _background_windows(corpus: TokenizedCorpus, words: Words) -> Windows:
    """Training text cut into windows: all of it, or evenly chosen sequences when there is more than a sample needs."""
    numbers = corpus.sequence_numbers(held_out=False)
    total = int(corpus.sequences["length"][numbers].sum())
    step = max(1, -(-total // BACKGROUND_TOKENS))
    rows, documents = [], []
    for number in numbers[::step].tolist():
        tokens = corpus.sequence_tokens(number).astype(np.int64)
        padded = np.full(-(-len(tokens) // LENGTH) * LENGTH, words.outside)
        padded[: len(tokens)] = tokens
        rows.append(padded.reshape(-1, LENGTH))
        documents.append(np.full(len(rows[-1]), corpus.sequences["document"][number], np.int64))
    return Windows(np.concatenate(rows), np.concatenate(documents))


def affixes_of(text: str) -> list[str]:
    """`-ed`, `un-`: what a word of letters begins and ends with, two to four letters, where two more are left."""
    lengths = [n for n in (4, 3, 2) if len(text) > n + 2] if text.isalpha() else []
    return [affix for n in lengths for affix in (f"-{text[-n:]}", f"{text[:n]}-")]


def _affixes(words: Words, counts: npt.NDArray[np.int64]) -> Counter[str]:
    """Number of words of the sample that have each affix."""
    affixes: Counter[str] = Counter()
    for text, count in zip(words.folded_texts, counts.tolist(), strict=False):
        for affix in affixes_of(text):
            affixes[affix] += count
    return affixes
