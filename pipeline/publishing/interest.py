"""Columns of the published features by which lists are ordered: how much a feature has to say.

    interest = label_score x max x telling x (1 - at_start)

High for a feature whose label holds, that is strong, and whose strongest tokens are words that say something: not
punctuation, not numbers, none of the most frequent words, not the start of a text.

Shapes: F features of one SAE, M examples, E top examples, V vocabulary, W different words of tokens.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.corpus import Cutting, TokenizedCorpus
from data.artifacts.features import TOP

START_TOKENS = 4
"""A token stands at the start when it is among the first so many of the sequence that the model reads."""

MIN_LETTERS = 4
MAX_WORD_SHARE = 5e-4
"""Of a word that tells something: its letters, and the share of the corpus's tokens that it makes up at most."""
SAMPLE_TOKENS = 4_000_000
"""The first tokens of the corpus, in which words are counted."""

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


def interest_of(label_score_F: Floats, max_F: Floats, telling_F: Floats, at_start_F: Floats) -> pa.Array:
    """The interest of features, float32 [F]; null where the label has no score."""
    interest_F = label_score_F * max_F * telling_F * (1 - at_start_F)
    return pa.array(interest_F.astype(np.float32), mask=np.isnan(label_score_F))


def start_shares(examples: pa.Table, num_features: int, cutting: Cutting) -> Floats:
    """Share of the top examples that stand at the start of what the model read [F]; 0 without examples."""
    top = examples.filter(pa.array(examples["kind"].to_numpy() == TOP))
    position_E = top["position"].to_numpy()
    return _shares(top, position_E - cutting.start(position_E) < START_TOKENS, num_features)


def telling_shares(examples: pa.Table, num_features: int, corpus: TokenizedCorpus, telling_V: Booleans) -> Floats:
    """Share of the top examples that are strongest on a telling token [F]; 0 without examples."""
    top = examples.filter(pa.array(examples["kind"].to_numpy() == TOP))
    place_E = corpus.offsets[top["document"].to_numpy()] + top["position"].to_numpy()
    return _shares(top, telling_V[corpus.tokens[place_E]], num_features)


def telling_tokens(vocabulary: Sequence[bytes], corpus: TokenizedCorpus) -> Booleans:
    """Mask of the tokens that are words of four letters or more, and of at most MAX_WORD_SHARE of the corpus [V]."""
    texts = [piece.decode("utf-8", "replace").strip().casefold() for piece in vocabulary]
    numbers: dict[str, int] = {}
    word_V = np.array([numbers.setdefault(text, len(numbers)) for text in texts])
    counts_V = np.bincount(corpus.tokens[:SAMPLE_TOKENS], minlength=len(texts))
    counts_W = np.bincount(word_V, counts_V)
    long_V = np.array([sum(map(str.isalpha, text)) >= MIN_LETTERS for text in texts])
    return np.asarray(long_V & (counts_W[word_V] <= MAX_WORD_SHARE * counts_V.sum()))


def _shares(top: pa.Table, which_E: Booleans, num_features: int) -> Floats:
    index_E = top["index"].to_numpy()
    total_F = np.bincount(index_E, minlength=num_features)
    return np.bincount(index_E[which_E], minlength=num_features) / np.maximum(total_F, 1)
