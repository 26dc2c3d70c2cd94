"""Correlations against numpy's, with planted ones, in blocks of tokens and passes of neurons."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.neurons.active import ActiveFeatures, FeatureReader
from pipeline.neurons.block import NeuronBlock
from pipeline.neurons.correlation import BestNeurons, CorrelationSums
from tests.support.models import WIDTH, tiny_sae

NUM_TOKENS, NUM_FEATURES, NUM_NEURONS = 3000, 20, 700
TOLERANCE = 1e-5


def bags(acts_NF: Tensor) -> ActiveFeatures:
    feature_K, token_K = acts_NF.T.nonzero(as_tuple=True)
    count_F = torch.bincount(feature_K, minlength=acts_NF.shape[1])
    return ActiveFeatures(token_K, acts_NF.T[feature_K, token_K], count_F.cumsum(0) - count_F, count_F)


def sparse_features() -> Tensor:
    """Of densities from a tenth of a percent to half."""
    generator = torch.Generator().manual_seed(0)
    shares_F = torch.logspace(-3, -0.3, NUM_FEATURES)
    acts_NF = torch.rand(NUM_TOKENS, NUM_FEATURES, generator=generator) + 0.5
    return acts_NF * (torch.rand(NUM_TOKENS, NUM_FEATURES, generator=generator) < shares_F)


def neurons(acts_NF: Tensor) -> Tensor:
    """Mixtures of the features and noise, some with a mean that is large beside their spread."""
    generator = torch.Generator().manual_seed(1)
    mixed_NM = acts_NF @ torch.randn(NUM_FEATURES, NUM_NEURONS, generator=generator)
    noise_NM = torch.randn(NUM_TOKENS, NUM_NEURONS, generator=generator)
    return mixed_NM + noise_NM + 100 * torch.randn(NUM_NEURONS, generator=generator)


def sums_of(acts_NF: Tensor, neurons_NM: Tensor, block: int = 512) -> CorrelationSums:
    sums = CorrelationSums(acts_NF.shape[1], neurons_NM.shape[1])
    for acts_BF, neurons_BM in zip(acts_NF.split(block), neurons_NM.split(block), strict=True):
        sums.add(bags(acts_BF), neurons_BM)
    return sums


def all_of(sums: CorrelationSums) -> np.ndarray:
    return sums.correlations(slice(None)).numpy()


def expected(acts_NF: Tensor, neurons_NM: Tensor) -> np.ndarray:
    both = np.concatenate([acts_NF.numpy(), neurons_NM.numpy()], 1).astype(np.float64)
    return np.corrcoef(both.T)[: acts_NF.shape[1], acts_NF.shape[1] :]


def test_correlations_are_those_of_numpy() -> None:
    acts_NF = sparse_features()
    neurons_NM = neurons(acts_NF)
    sums = sums_of(acts_NF, neurons_NM)
    np.testing.assert_allclose(all_of(sums), expected(acts_NF, neurons_NM), atol=TOLERANCE)
    assert sums.num_tokens == NUM_TOKENS
    assert sums.num_active_F.tolist() == (acts_NF > 0).sum(0).tolist()


def test_neurons_in_bfloat16_are_correlated_as_they_are() -> None:
    acts_NF = sparse_features()
    neurons_NM = neurons(acts_NF).bfloat16()
    found = all_of(sums_of(acts_NF, neurons_NM))
    np.testing.assert_allclose(found, expected(acts_NF, neurons_NM.float()), atol=TOLERANCE)


def test_a_feature_that_is_a_neuron_has_r_1_and_its_negative_minus_1() -> None:
    acts_NF = sparse_features()
    neurons_NM = neurons(acts_NF)
    neurons_NM[:, 7], neurons_NM[:, 400] = 3 * acts_NF[:, 4] - 20, -0.1 * acts_NF[:, 9] + 5
    best = sums_of(acts_NF, neurons_NM).best(10)
    assert best.neuron_FK[4, 0] == 7
    assert best.r_FK[4, 0] == pytest.approx(1, abs=TOLERANCE)
    assert best.neuron_FK[9, 0] == 400
    assert best.r_FK[9, 0] == pytest.approx(-1, abs=TOLERANCE)


def test_what_never_varies_has_no_correlation() -> None:
    acts_NF = sparse_features()
    neurons_NM = neurons(acts_NF)
    neurons_NM[:, 3] = 0.1
    acts_NF[:, 0], acts_NF[:, 1] = 0, 0.1
    found_FM = all_of(sums_of(acts_NF, neurons_NM))
    assert not found_FM[:, 3].any()
    assert not found_FM[:2].any()


def test_the_best_are_those_of_highest_r_in_one_pass_or_several() -> None:
    acts_NF = sparse_features()
    neurons_NM = neurons(acts_NF)
    r_FM = expected(acts_NF, neurons_NM)
    order_FK = np.argsort(-np.abs(r_FM), axis=1)[:, :10]
    cuts = [0, 300, 302, NUM_NEURONS]
    whole = sums_of(acts_NF, neurons_NM).best(10)
    merged: BestNeurons | None = None
    for start, stop in pairwise(cuts):
        part = sums_of(acts_NF, neurons_NM[:, start:stop]).best(10, start)
        merged = part if merged is None else merged.merge(part, 10)
    assert merged is not None
    for best in (whole, merged):
        assert best.neuron_FK.tolist() == order_FK.tolist()
        np.testing.assert_allclose(best.r_FK, np.take_along_axis(r_FM, order_FK, 1), atol=TOLERANCE)


def test_blocks_without_any_active_feature_and_empty_blocks_count_as_what_they_are() -> None:
    acts_NF = sparse_features()
    acts_NF[:1024] = 0
    neurons_NM = neurons(acts_NF)
    sums = sums_of(acts_NF, neurons_NM)
    sums.add(bags(acts_NF[:0]), neurons_NM[:0])
    np.testing.assert_allclose(all_of(sums)[1:], expected(acts_NF, neurons_NM)[1:], atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_sinks_count_for_nothing(dtype: torch.dtype) -> None:
    acts_NF = sparse_features()
    neurons_NM = neurons(acts_NF).to(dtype)
    generator = torch.Generator().manual_seed(3)
    is_sink_P = torch.rand(NUM_TOKENS + 400, generator=generator) < 0.1
    is_sink_P[[0, -1]] = True
    row_N = (~is_sink_P).nonzero()[:NUM_TOKENS, 0]
    neurons_PM = torch.full((len(is_sink_P), NUM_NEURONS), 1e4, dtype=dtype)
    neurons_PM[row_N] = neurons_NM[: len(row_N)]
    acts_NF, neurons_NM = acts_NF[: len(row_N)], neurons_NM[: len(row_N)]

    sums = CorrelationSums(NUM_FEATURES, NUM_NEURONS)
    for block_P in torch.arange(len(is_sink_P)).split(512):
        of_block_N = (row_N >= block_P[0]) & (row_N <= block_P[-1])
        sums.add(bags(acts_NF[of_block_N]), neurons_PM[block_P], (row_N[of_block_N] - block_P[0]).numpy())

    assert sums.num_tokens == len(row_N) < len(is_sink_P)
    np.testing.assert_allclose(all_of(sums), expected(acts_NF, neurons_NM.float()), atol=TOLERANCE)


def test_neurons_of_tokens_are_theirs_where_a_sink_stands_among_them() -> None:
    neurons_PM = torch.arange(12.0).reshape(6, 2)
    block = NeuronBlock(torch.zeros(4, 1), neurons_PM, np.array([0, 1, 3, 5]), np.zeros(4))
    assert block.neurons_of(slice(1, 4)).tolist() == neurons_PM[[1, 3, 5]].tolist()
    view_TM = block.neurons_of(slice(0, 2))
    assert view_TM.tolist() == neurons_PM[:2].tolist()
    assert view_TM.data_ptr() == neurons_PM.data_ptr()
    assert block.neurons_of(slice(2, 2)).shape == (0, 2)


@pytest.mark.parametrize("kind", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chosen_features_of_several_saes_are_read_sparsely(kind: str, dtype: torch.dtype) -> None:
    saes = [tiny_sae(24, nonlinearity=kind, seed=seed) for seed in (0, 1)]  # type: ignore[arg-type]
    chosen = [np.array([1, 5, 23]), np.arange(24)]
    x_ND = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(2))
    active = FeatureReader(saes, chosen, dtype).read(x_ND)
    dense_NF = torch.cat(
        [sae.encode(x_ND)[:, torch.from_numpy(index)] for sae, index in zip(saes, chosen, strict=True)], 1
    )
    found_NF = torch.zeros_like(dense_NF)
    found_NF[active.token_K, torch.repeat_interleave(active.count_F)] = active.value_K
    torch.testing.assert_close(found_NF, dense_NF, atol=1e-5, rtol=1e-5)
    assert active.starts_F.tolist() == (active.count_F.cumsum(0) - active.count_F).tolist()
