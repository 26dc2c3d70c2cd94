"""The training objective of an autoencoder on held-out tokens, against its definition."""

import pytest
import torch

from pipeline.evaluation.objective import measure_objective
from pipeline.models.sae import SAEHeader
from pipeline.training.relu import ReLU
from pipeline.training.topk import TopK

WIDTH, FEATURES, ROWS = 10, 24, 2100


@pytest.fixture
def x_ND() -> torch.Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))


def test_relu_has_the_loss_of_its_training(x_ND):
    model = ReLU(FEATURES, WIDTH, l1_coefficient=0.7, seed=0, low=torch.float32)
    for rows_BD in x_ND.split(64):
        model.step(rows_BD, learning_rate=1e-2, warmup=1.0)
    model.weights.b_enc_F[0] = -100.0
    W_enc_FD, b_enc_F, W_dec_FD, b_dec_D = model.weights
    acts_NF = torch.relu(x_ND @ W_enc_FD.T + b_enc_F)
    error_N = (acts_NF @ W_dec_FD + b_dec_D - x_ND).square().sum(1)
    sparsity_N = (acts_NF * W_dec_FD.norm(dim=1)).sum(1)
    often_F = (acts_NF > 0).sum(0)
    rare_tokens = int(often_F.sort().values[4])

    sae = model.fold(SAEHeader("", "relu", "relu", FEATURES, WIDTH, "", 0), 1.0, torch.zeros(WIDTH))
    found = measure_objective(sae, x_ND, l1_coefficient=0.7, rare_tokens=rare_tokens)

    assert found.loss == pytest.approx(float((error_N + 0.7 * sparsity_N).mean()), rel=1e-5)
    assert found.squared_error == pytest.approx(float(error_N.mean()), rel=1e-5)
    assert found.l0 == pytest.approx(float(often_F.sum()) / ROWS, rel=1e-3)
    assert found.dead_share == float((often_F == 0).double().mean()) > 0
    assert found.rare_share == float(((often_F > 0) & (often_F < rare_tokens)).double().mean()) > 0
    total = float((x_ND - x_ND.mean(0)).square().sum())
    assert found.explained_variance == pytest.approx(1 - float(error_N.sum()) / total, rel=1e-5)


def test_topk_has_its_squared_error_alone(x_ND):
    model = TopK(FEATURES, WIDTH, k=4, auxiliary_coefficient=0.1, dead_window=100, seed=0, low=torch.float32)
    W_enc_FD, b_enc_F, W_dec_FD, b_dec_D = model.weights
    pre_NF = x_ND @ W_enc_FD.T + b_enc_F
    largest = pre_NF.topk(4, dim=1)
    acts_NF = torch.zeros_like(pre_NF).scatter_(1, largest.indices, largest.values.relu())

    sae = model.fold(SAEHeader("", "topk", "topk", FEATURES, WIDTH, "", 0, 4), 1.0, torch.zeros(WIDTH))
    found = measure_objective(sae, x_ND, l1_coefficient=0.0, rare_tokens=4)

    expected = float((acts_NF @ W_dec_FD + b_dec_D - x_ND).square().sum(1).mean())
    assert found.loss == found.squared_error == pytest.approx(expected, rel=1e-5)
