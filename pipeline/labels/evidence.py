"""Evidence of what the strongest examples of a feature share: counted, and compared with the corpus at large.

For every feature some windows around its strongest tokens (`top`, and `interval` of the upper bands) are cut into
words. What counts is the word that holds the peak, its neighbours, what kind of place it is, and which words stand near
it in more documents than chance would have it.

Shapes: W windows, L tokens of a window, F features of a chunk.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data.artifacts.contexts import context_hashes
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import INTERVAL, TOP
from pipeline.arrays import Ints, first_of_pairs, ranks
from pipeline.labels.background import LENGTH, PEAK, Background, Windows
from pipeline.labels.rule import AFTER, BEFORE, Part
from pipeline.labels.traits import Flags, KindTables, enclosed_at
from pipeline.labels.words import NONE, Words, WordWindows

MAX_NEAR = 8
MIN_NEAR_DOCUMENTS = 3
MAX_NEAR_SHARE = 0.02
"""A word that occurs in more of all windows says little by being near."""
SAME_PART = 0.8
"""Share of the peaks that must be on their word's first, or last, token for the feature to be one of these."""
SEVERAL = 0.1
"""Share of the words that must have several tokens for that to matter."""


class Evidence(NamedTuple):
    """Facts about one feature's strongest examples, one item for each, strongest first."""

    words: Ints
    """Surface number of the word that holds the peak [W]."""
    previous: Ints
    next: Ints
    """Its neighbours' surface numbers; NONE without one."""
    pieces: Ints
    """Token id of the peak, which may be part of its word."""
    part: Part
    """On which tokens of its words it peaks."""
    near: list[tuple[int, float]]
    """Words (folded numbers) that stand near in unlikely many documents, with their share, least likely first."""
    traits: dict[str, Flags]
    """Whether each example has each of TRAITS."""
    traits_previous: dict[str, Flags]
    """The same for the word before, of KINDS."""
    traits_next: dict[str, Flags]


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
    # A token, and what stands in the same context, may be an example of several kinds.
    kept = first_of_pairs(column["index"], context_hashes(corpus, column["document"], column["position"]))
    column = {name: values[kept] for name, values in column.items()}
    if len(kept):
        yield from _evidence(column["index"], _windows_at(column, corpus, words), words, background)


def _evidence(
    feature_W: Ints, windows: Windows, words: Words, background: Background
) -> Iterator[tuple[int, Evidence]]:
    found = words.windows(windows.ids_WL)
    first_W, next_W = found.first_WL[:, PEAK], found.next_WL[:, PEAK]
    peak_W, before_W, after_W = found.surface_WL[:, PEAK], _at(found, first_W - 1), _at(found, next_W)
    here, previous, following = _traits(words, windows, found)
    near = _near_words(feature_W, windows.document_W, found, words, background)
    cuts = np.flatnonzero(np.diff(feature_W, prepend=-1, append=-1))
    for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        some = slice(start, stop)
        index = int(feature_W[start])
        traits = [{name: flag_W[some] for name, flag_W in flags.items()} for flags in (here, previous, following)]
        part = _part(first_W[some] == PEAK, next_W[some] == PEAK + 1)
        ids_W = windows.ids_WL[some, PEAK]
        yield index, Evidence(peak_W[some], before_W[some], after_W[some], ids_W, part, near.get(index, []), *traits)


def _at(found: WordWindows, column_W: Ints) -> Ints:
    """Surface number of the word at a column of each window; NONE outside [W]."""
    inside_W = (column_W >= 0) & (column_W < LENGTH)
    words_W: Ints = found.surface_WL[np.arange(len(column_W)), np.where(inside_W, column_W, 0)]
    return np.where(inside_W, words_W, NONE)


def _traits(words: Words, windows: Windows, found: WordWindows) -> list[dict[str, Flags]]:
    """Traits of the word at the peak, and kinds of the words before and after it."""
    tables, rows = KindTables(words), np.arange(len(windows.ids_WL))
    first_W, next_W = found.first_WL[:, PEAK], found.next_WL[:, PEAK]
    before_W = found.first_WL[rows, np.maximum(first_W - 1, 0)]
    here = tables.kinds(found.surface_WL[:, PEAK], _at(found, first_W - 1))
    here |= enclosed_at(words, windows.ids_WL, first_W)
    previous = tables.kinds(_at(found, first_W - 1), _at(found, np.where(first_W > 0, before_W - 1, -1)))
    return [here, previous, tables.kinds(_at(found, next_W), found.surface_WL[:, PEAK])]


def _part(first_W: Flags, last_W: Flags) -> Part:
    """The part of their words that the peaks are, where it matters."""
    if (first_W & last_W).mean() > 1 - SEVERAL:
        return "any"
    if last_W.mean() >= SAME_PART:
        return "last"
    return "first" if first_W.mean() >= SAME_PART else "any"


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
    documents, number_W = np.unique(document_W, return_inverse=True)
    pair_P, count_P = _counts_of_pairs(pair_N, number_W[row], len(documents))
    feature_P, word_P = np.divmod(pair_P, size)
    first = int(feature_W[0])
    total_P = _distinct(feature_W - first, document_W)[feature_P - first].astype(np.float64)
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


def _counts_of_pairs(pair_N: Ints, document_N: Ints, num_documents: int) -> tuple[Ints, Ints]:
    """Each pair of a feature and a word once, ascending, and in how many documents it is [P]."""
    first = int(pair_N.min()) if len(pair_N) else 0
    # One number for a pair and a document: features of a chunk, words, and documents of these features.
    both_N = np.sort((pair_N - first) * num_documents + document_N)
    pair_M = both_N[np.diff(both_N, prepend=-1) > 0] // num_documents
    starts_P = np.flatnonzero(np.diff(pair_M, prepend=-1))
    return pair_M[starts_P] + first, np.diff(starts_P, append=len(pair_M))


def _distinct(feature_W: Ints, document_W: Ints) -> Ints:
    """In how many documents each feature's windows lie, by feature."""
    pairs = np.unique((feature_W << 32) | document_W)
    return np.bincount(pairs >> 32)


def _windows_at(column: dict[str, Ints], corpus: TokenizedCorpus, words: Words) -> Windows:
    """Windows around examples, as far as their own windows reach."""
    at_WL = column["position"][:, None] + np.arange(-BEFORE, AFTER + 1)
    start_W, stop_W = column["start"][:, None], (column["start"] + column["length"])[:, None]
    inside_WL = (at_WL >= start_W) & (at_WL < stop_W)
    offset_W = corpus.offsets[column["document"]]
    ids_WL = corpus.tokens[np.where(inside_WL, offset_W[:, None] + at_WL, 0)].astype(np.int64)
    return Windows(np.where(inside_WL, ids_WL, words.outside), column["document"])
