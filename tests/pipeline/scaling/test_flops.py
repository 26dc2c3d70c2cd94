"""Operations of a step, against those that torch counts."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.scaling.flops import flops_per_step
from pipeline.training.relu import ReLU

BATCH, WIDTH, FEATURES = 32, 12, 48


def test_the_formula_is_what_a_dense_forward_and_backward_do():
    x_BD = torch.randn(BATCH, WIDTH)
    W_enc_DF, W_dec_FD = (
        torch.randn(WIDTH, FEATURES, requires_grad=True),
        torch.randn(FEATURES, WIDTH, requires_grad=True),
    )
    b_enc_F, b_dec_D = torch.zeros(FEATURES, requires_grad=True), torch.zeros(WIDTH, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        acts_BF = torch.relu(torch.addmm(b_enc_F, x_BD, W_enc_DF))
        error_BD = torch.addmm(b_dec_D, acts_BF, W_dec_FD) - x_BD
        (error_BD.square().sum() + (acts_BF * W_dec_FD.norm(dim=1)).sum()).backward()

    assert counter.get_total_flops() == flops_per_step(BATCH, WIDTH, FEATURES)


def test_our_own_step_does_as_many_while_activations_are_dense():
    model = ReLU(FEATURES, WIDTH, l1_coefficient=1.0, seed=0, low=torch.float32)
    x_BD = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        model.step(x_BD, learning_rate=1e-3, warmup=1.0)

    column_sums = 2 * 2 * BATCH * FEATURES
    assert counter.get_total_flops() == pytest.approx(flops_per_step(BATCH, WIDTH, FEATURES), abs=column_sums)
