"""Ordinary text as evidence: whether the corpus's examples at which a candidate fires stand on its concept.

Shapes: C candidates, M examples.
"""

import numpy as np
import pyarrow as pa

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import INTERVAL, TOP
from data.concepts.matching import AROUND, Matcher
from data.concepts.specificity import Candidates, Floats
from pipeline.arrays import Ints, Mask, first_of_pairs, pack_tokens, ranges


def read_examples(
    examples: pa.Table, corpus: TokenizedCorpus, matcher: Matcher, candidates: Candidates, read_C: Mask
) -> tuple[Ints, Ints]:
    """Of the examples at which each candidate fires, those on its concept, and all [C]; of those not read, 0.

    examples: those of an SAE, see data.artifacts.features.EXAMPLES; its strongest and those drawn from every band.
    """
    num, chosen = len(candidates.concept_C), np.flatnonzero(read_C)
    index_M = examples["index"].to_numpy()
    low, high = (np.searchsorted(index_M, candidates.feature_C[chosen], side) for side in ("left", "right"))
    candidate_M, row_M = np.repeat(chosen, high - low), ranges(low.astype(np.int64), (high - low).astype(np.int64))
    some = examples.select(["kind", "document", "position", "activation"]).take(pa.array(row_M))
    kind_M, document_M, position_M, activation_M = (column.to_numpy() for column in some.columns)
    kept = np.flatnonzero(_fires(kind_M, activation_M, candidates.level()[candidate_M]))
    # One may be both among the strongest and drawn from a band.
    kept = kept[first_of_pairs(candidate_M[kept], pack_tokens(document_M[kept], position_M[kept]))]
    candidate_M, document_M, position_M = candidate_M[kept], document_M[kept], position_M[kept]
    windows, places = _windows(corpus, document_M, position_M)
    on_M = matcher.speaks_of(windows, places, candidates.concept_C[candidate_M])
    return np.bincount(candidate_M[on_M], minlength=num), np.bincount(candidate_M, minlength=num)


def _fires(kind_M: Ints, activation_M: Floats, level_M: Floats) -> Mask:
    fires_M: Mask = np.isin(kind_M, (TOP, INTERVAL)) & (activation_M >= level_M)
    return fires_M


def _windows(corpus: TokenizedCorpus, document_M: Ints, position_M: Ints) -> tuple[list[list[int]], list[int]]:
    """The tokens around each, and its place among them."""
    start_M = np.maximum(position_M.astype(np.int64) - AROUND, 0)
    stop_M = np.minimum(position_M + AROUND + 1, corpus.lengths[document_M])
    places = zip(document_M.tolist(), start_M.tolist(), (stop_M - start_M).tolist(), strict=True)
    return [corpus.stretch(*place).tolist() for place in places], (position_M - start_M).tolist()
