"""What is compared: random features of an SAE, and random neurons made into a dictionary of the same kind.

A feature is zero on nearly all tokens; a gated neuron is never quite zero, and below zero on about half of them. So of
both only what is above CUT times the highest activation on the text that was read counts as active: of a neuron, its
positive side. Written as an SAE (an encoder that picks the neurons), neurons go through the very code that features do.
Of a topk SAE nothing is cut: k of its features are active on a token already, whatever the others do.

Shapes: N tokens, F features of an SAE, U neurons read, P of a pool, C drawn.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.artifacts.comparison import NEURONS_GROUP
from pipeline.arrays import Floats, Ints, Mask
from pipeline.comparison.reading import ReadText
from pipeline.labels.scoring import LEAST_ACTIVE
from pipeline.models.sae import SAE, SAEHeader, SparseActivations

FEATURES_POOL, NEURONS_POOL = 4, 2
"""For each that is asked for, so many are looked at, since some are active too rarely."""
CUT = 0.1
"""Part of its highest activation above which a feature or a neuron counts as active."""

Encoder = Callable[[Ints, Floats], tuple[SAE, Ints]]
"""Makes what encodes those with some ascending numbers above a threshold of each, and their places in it."""


class Texts(NamedTuple):
    """The text that is read for all."""

    training: ReadText
    """Gives examples and samples."""
    held_out: ReadText
    """On which rules are tried."""


@dataclass(frozen=True)
class Drawn:
    """A group: features of one SAE, or neurons."""

    name: str
    number_C: Ints
    """Indices of the features, or numbers of the neurons over all layers; ascending."""
    sae: SAE
    """Encodes them."""
    place_C: Ints
    """Where they are among its features; ascending."""
    threshold_C: Floats
    num_active_C: Ints
    """Training tokens read on which each is active."""
    num_passed_over: int

    def x(self, text: ReadText) -> Tensor:
        """What `sae` reads of a text [N, width]."""
        return text.neurons_NU if self.name == NEURONS_GROUP else text.x_ND


def draw_numbers(candidates: Ints, count: int, seed: Sequence[int]) -> Ints:
    """Up to `count` of some numbers in random order."""
    return np.random.default_rng(list(seed)).permutation(candidates)[:count]


def draw_features(name: str, sae: SAE, pool_P: Ints, texts: Texts, count: int, min_active: int) -> Drawn:
    """The first `count` of a pool of features in random order that are active on enough tokens."""

    def encoder(index_C: Ints, threshold_C: Floats) -> tuple[SAE, Ints]:
        if sae.header.nonlinearity == "topk":
            return sae, index_C
        chosen = torch.from_numpy(index_C).to(sae.device)
        return sae.among(chosen, torch.from_numpy(threshold_C).to(sae.device)), np.arange(len(index_C))

    return _draw(name, pool_P, encoder, texts, count, min_active)


def draw_neurons(number_U: Ints, pool_P: Ints, texts: Texts, count: int, min_active: int) -> Drawn:
    """The same of a pool of neurons. number_U: those that were read."""

    def encoder(number_C: Ints, threshold_C: Floats) -> tuple[SAE, Ints]:
        columns_C = np.searchsorted(number_U, number_C)
        return neuron_dictionary(columns_C, threshold_C, len(number_U)), np.arange(len(number_C))

    return _draw(NEURONS_GROUP, pool_P, encoder, texts, count, min_active)


def neuron_dictionary(column_C: Ints, threshold_C: Floats, num_neurons: int) -> SAE:
    """An SAE whose features are neurons above their thresholds: it reads the activations of `num_neurons` of them."""
    count = len(column_C)
    W_CU = torch.zeros(count, num_neurons)
    W_CU[torch.arange(count), torch.from_numpy(column_C)] = 1
    positive = threshold_C[threshold_C > 0]
    scale = float(np.median(positive)) / CUT if len(positive) else 1.0  # of the size of their highest activations
    header = SAEHeader(NEURONS_GROUP, NEURONS_GROUP, "jumprelu", count, num_neurons, "", 0, activation_scale=scale)
    return SAE(header, W_CU, torch.zeros(count), W_CU, torch.zeros(num_neurons), torch.from_numpy(threshold_C))


def _draw(name: str, pool_P: Ints, encoder: Encoder, texts: Texts, count: int, min_active: int) -> Drawn:
    order_P = np.argsort(pool_P)
    sorted_P = pool_P[order_P]
    whole = _drawn(name, sorted_P, encoder, np.zeros(len(pool_P), np.float32))
    threshold_P = np.float32(CUT) * _maxima(whole, texts.training)
    whole = _drawn(name, sorted_P, encoder, threshold_P)
    num_active_P, num_held_out_P = (_count_active(whole, text) for text in texts)
    enough_P = np.empty(len(pool_P), bool)
    enough_P[order_P] = (num_active_P >= min_active) & (num_held_out_P >= LEAST_ACTIVE)
    taken_P = _first(enough_P, count)
    looked_at = int(np.flatnonzero(taken_P)[-1]) + 1 if enough_P.sum() >= count else len(pool_P)
    kept = taken_P[order_P]
    sae, place_C = encoder(sorted_P[kept], threshold_P[kept])
    passed_over = looked_at - int(taken_P.sum())
    return Drawn(name, sorted_P[kept], sae, place_C, threshold_P[kept], num_active_P[kept], passed_over)


def _drawn(name: str, number_P: Ints, encoder: Encoder, threshold_P: Floats) -> Drawn:
    """A whole pool."""
    sae, place_P = encoder(number_P, threshold_P)
    return Drawn(name, number_P, sae, place_P, threshold_P, np.zeros(len(number_P), np.int64), 0)


def _first(mask_P: Mask, count: int) -> Mask:
    """The first `count` of those that are true."""
    return mask_P & (np.cumsum(mask_P) <= count)


def _activations(drawn: Drawn, text: ReadText) -> Iterator[SparseActivations]:
    x_ND = drawn.x(text)
    for rows in text.slices():
        yield from drawn.sae.encode_by_feature(x_ND[rows].to(drawn.sae.device))


def _maxima(drawn: Drawn, text: ReadText) -> Floats:
    """The highest activation of each on a text; 0 where it is never active [C]."""
    max_F = np.zeros(drawn.sae.num_features, np.float32)
    for found in _activations(drawn, text):
        np.maximum.at(max_F, found.feature_K.cpu().numpy(), found.value_K.cpu().numpy())
    return max_F[drawn.place_C]


def _count_active(drawn: Drawn, text: ReadText) -> Ints:
    """Tokens of a text on which each is active [C]."""
    total_F = np.zeros(drawn.sae.num_features, np.int64)
    for found in _activations(drawn, text):
        total_F += np.bincount(found.feature_K.cpu().numpy(), minlength=len(total_F))
    return total_F[drawn.place_C]
