"""The order of what a search finds: how well a feature fits the words and the meaning, and how much of it there is.

    score = prior x (0.5 label + 2.5 evidence / W + 0.5 beside + 1.5 meaning)

prior      0 to 1: it falls for features that are active on few tokens, or weak for their SAE (table `search`)
label      0 to 1: the words that are in the label, how much of the label they are, and how well the label holds
evidence   share of the top examples whose peak lies in one of the words
beside     share of those where one of the words is next to it
meaning    0 to 1: the cosine to what was typed, from MEANT to SAME

A word that only begins with what was typed counts by the part that was typed; of several words, long ones count more.
The more words were typed, the more they are a description, which few features are strongest on, so that evidence counts
less and meaning the more.

Shapes: N features, W words.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.published.arrays import Floats
from backend.published.catalogue import OpenRun
from data.published.terms import forms

MEANT, SAME = 0.3, 0.7
"""Cosines: below the first, a feature does not mean what was typed; from the second on, nothing means it better."""
LABEL, EVIDENCE, BESIDE, MEANING = 0.5, 2.5, 0.5, 1.5
"""Weights of the parts."""
FOUND = 0.05
"""Added for a feature that has the words, wherever they are."""


class Ranked(NamedTuple):
    """A feature in the order of a search."""

    row: int
    score: float
    cosine: float | None
    """None unless it is near enough to what was typed."""


def rank(run: OpenRun, wanted: Sequence[str], found: Sequence[int], cosines: Mapping[int, float]) -> list[Ranked]:
    """Rows that have the words, and those that mean the same, by score; ties by row. One read of each file of rows."""
    rows = sorted({*found, *cosines})
    if not rows:
        return []
    records = run.tables.take("search", rows, ["prior", "peak_words", "beside_words"])
    labels = run.tables.take("features", rows, ["label", "label_score"])
    weight_W = np.array([len(word) ** 2 for word in wanted], np.float64)
    weight_W /= weight_W.sum()
    label_N = np.array([label_fit(label, wanted, weight_W) for label in labels["label"].to_pylist()])
    label_N *= np.nan_to_num(labels["label_score"].cast(pa.float64()).to_numpy(), nan=1.0)
    evidence_N = weight_W @ np.array([peak_shares(_column(records, "peak_words"), word) for word in wanted])
    beside_N = weight_W @ np.array([beside_shares(_column(records, "beside_words"), word) for word in wanted])
    cosine_N = np.array([cosines.get(row, 0.0) for row in rows])
    meaning_N = np.clip((cosine_N - MEANT) / (SAME - MEANT), 0, 1)
    has = set(found)
    fit_N = LABEL * label_N + EVIDENCE / len(wanted) * evidence_N + BESIDE * beside_N + MEANING * meaning_N
    fit_N += FOUND * np.array([row in has for row in rows])
    score_N = np.asarray(records["prior"].to_numpy(), np.float64) * fit_N
    order = np.lexsort((rows, -score_N)).tolist()
    return [Ranked(rows[n], float(score_N[n]), cosines.get(rows[n])) for n in order]


def label_fit(label: str, wanted: Sequence[str], weight_W: Floats) -> float:
    """How well a label fits the words, 0 to 1: its best word for each, less for the other words that it has."""
    own = [form for form in forms(label) if form[0].isalnum()] or forms(label)  # signs join words
    if not own:
        return 0.0
    parts = ((len(word) / len(form) for form in own if form.startswith(word)) for word in wanted)
    best_W = np.array([max(part, default=0.0) for part in parts])
    share = min(1.0, np.count_nonzero(best_W) / len(own))
    return float(weight_W @ best_W) * (1 + share) / 2


def peak_shares(peaks_N: pa.ListArray, word: str) -> Floats:
    """The share of each feature's peaks that lie in a word [N], each by the part of it that was typed."""
    values = peaks_N.flatten()
    hit = pc.starts_with(values, word).to_numpy(zero_copy_only=False)
    length = np.maximum(pc.utf8_length(values).to_numpy(), 1)
    return _shares(peaks_N, np.where(hit, len(word) / length, 0.0))


def beside_shares(beside_N: pa.ListArray, word: str) -> Floats:
    """The share of each feature's peaks beside which there is a word [N]."""
    values = beside_N.flatten()
    hit = pc.or_(pc.starts_with(values, word), pc.match_substring(values, f" {word}"))
    return _shares(beside_N, hit.to_numpy(zero_copy_only=False).astype(np.float64))


def _shares(lists_N: pa.ListArray, part: Floats) -> Floats:
    """The mean of each list's parts [N]; 0 of an empty one."""
    total_N = np.bincount(pc.list_parent_indices(lists_N).to_numpy(), part, len(lists_N))
    shares_N: Floats = total_N / np.maximum(pc.list_value_length(lists_N).to_numpy(), 1)
    return shares_N


def _column(records: pa.Table, name: str) -> pa.ListArray:
    column = records[name].combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
