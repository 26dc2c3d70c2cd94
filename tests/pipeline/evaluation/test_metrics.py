"""Reconstruction metrics against plain formulas."""

import numpy as np
import pytest
import torch

from pipeline.evaluation.metrics import Reconstruction, counted, density_histogram
from pipeline.models.left_out import own_of_batch
from pipeline.models.sae import SparseActivations


def test_explained_variance_is_the_formula_over_the_whole_set() -> None:
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randn(500, 16, generator=generator) + 30.0
    x_hat_ND = x_ND + 0.3 * torch.randn(500, 16, generator=generator)
    none = SparseActivations(torch.zeros(3).long(), torch.zeros(3).long(), torch.ones(3))
    meter = Reconstruction(16)
    for start in range(0, 500, 128):
        meter.add(x_ND[start : start + 128], x_hat_ND[start : start + 128], none)
    x, x_hat = x_ND.double().numpy(), x_hat_ND.double().numpy()
    expected = 1 - ((x - x_hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert meter.explained_variance() == pytest.approx(expected, rel=1e-10)
    assert meter.mean_squared_error() == pytest.approx(((x - x_hat) ** 2).sum(1).mean(), rel=1e-10)
    assert meter.l0() == 4 * 3 / 500


def test_counted_leaves_out_bos_padding_and_sinks() -> None:
    x_BLD = torch.ones(2, 5, 4)
    x_BLD[0, 2] = 100.0
    expected = torch.tensor([[False, True, False, True, True], [False, True, True, False, False]])
    assert torch.equal(counted(x_BLD, own_of_batch(np.array([4, 2]), 5), sink_norm=20.0), expected)


def test_density_histogram_counts_every_feature_once() -> None:
    density_F = np.array([0, 0, 1e-9, 1e-7, 0.05, 0.05, 1.0], np.float32)
    found = density_histogram(density_F)
    assert isinstance(found["counts"], list)
    assert found["dead"] == 2
    assert sum(found["counts"]) == 5
    assert found["counts"][0] == 2
    assert found["counts"][-1] == 1
