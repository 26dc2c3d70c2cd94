"""Columns of the published features by which lists are ordered: how much a feature has to say.

    interest = (label_score x telling)^2 x prior x (1 - at_start) x (1 + effect) / 2

High for a feature whose label holds and whose strongest tokens are words that tell what a text is about (telling.py):
not punctuation, not numbers, not the words that hold sentences together, not the start of a text. Both are squared, so
that no strength makes up for them. The others weigh less: how strong and how often active it is (the prior of the
search), and what it changes in the model's predictions, where that was measured.

Shapes: F features of one SAE, E top examples, W words by surface number.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.corpus import Cutting
from data.artifacts.features import TOP
from pipeline.publishing.searchable import priors
from pipeline.publishing.telling import Floats, TellingWords, is_word

START_TOKENS = 4
"""A token stands at the start when it is among the first so many of the sequence that the model reads."""
LEAST_TELLING = 0.05
"""Even where no word tells anything, in a corpus of single sentences, say, the other factors give an order."""
HALF_EFFECT = 0.2
"""Changes of the next token's probability, summed over the tokens kept, that count as half of the most."""


def interest_of(
    label_score_F: Floats, telling_F: Floats, prior_F: Floats, at_start_F: Floats, effect_F: Floats
) -> pa.Array:
    """The interest of features, float32 [F], 0 to 1; null where the label has no score."""
    telling_F = LEAST_TELLING + (1 - LEAST_TELLING) * telling_F
    interest_F = (label_score_F * telling_F) ** 2 * prior_F * (1 - at_start_F) * (1 + effect_F) / 2
    return pa.array(interest_F.astype(np.float32), mask=np.isnan(label_score_F))


class Tables(NamedTuple):
    """Artifacts of one SAE that its features' interest is told by."""

    statistics: pa.Table
    explanations: pa.Table
    effects: pa.Table
    examples: pa.Table
    """With columns index, kind, document and position."""


def measure_interest(tables: Tables, cutting: Cutting, telling: TellingWords) -> tuple[pa.Array, Floats]:
    """The interest of an SAE's features, and the share of their top examples at the start of texts [F]."""
    statistics, size = tables.statistics, len(tables.statistics)
    at_start_F = start_shares(tables.examples, size, cutting)
    interest_F = interest_of(
        tables.explanations["label_score"].to_numpy(),
        telling_means(tables.examples, size, telling),
        priors(statistics["num_active"].to_numpy(), statistics["max"].to_numpy()),
        at_start_F,
        effect_sizes(tables.effects),
    )
    return interest_F, at_start_F


def start_shares(examples: pa.Table, num_features: int, cutting: Cutting) -> Floats:
    """Share of the top examples that stand at the start of what the model read [F]; 0 without examples."""
    top = examples.filter(pa.array(examples["kind"].to_numpy() == TOP))
    position_E = top["position"].to_numpy()
    at_start_E = position_E - cutting.start(position_E) < START_TOKENS
    return _means(top, at_start_E.astype(np.float64), num_features)


def telling_means(examples: pa.Table, num_features: int, telling: TellingWords) -> Floats:
    """How much the words tell that the top examples are strongest on, their mean [F]; 0 without examples."""
    top = examples.filter(pa.array(examples["kind"].to_numpy() == TOP))
    surface_E = telling.at(*(top[name].to_numpy().astype(np.int64) for name in ("document", "position")))
    numbers, at_E = np.unique(surface_E, return_inverse=True)
    said = np.array([is_word(telling.words.texts[number]) for number in numbers.tolist()], bool)
    return _means(top, telling.weights(surface_E) * said[at_E], num_features)


def effect_sizes(effects: pa.Table) -> Floats:
    """How much features change the next token's probabilities, 0 to 1 [F]; 0 where it was not measured."""
    total_F = np.zeros(len(effects))
    for name in ("raised_change", "lowered_change"):
        lists = effects[name].combine_chunks()
        values = np.abs(lists.flatten().to_numpy())
        total_F += np.bincount(lists.value_parent_indices().to_numpy(), values, len(effects))
    return total_F / (total_F + HALF_EFFECT)


def _means(top: pa.Table, value_E: npt.NDArray[np.float64], num_features: int) -> Floats:
    index_E = top["index"].to_numpy()
    total_F = np.bincount(index_E, minlength=num_features)
    return np.bincount(index_E, value_E, num_features) / np.maximum(total_F, 1)
