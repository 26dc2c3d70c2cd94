"""Tokens that are left out, on residual streams made by hand."""

import numpy as np
import torch

from pipeline.models.left_out import are_sinks, left_out, measure_sink_norm, own_of_batch, own_of_prompt


def test_sinks_are_above_a_multiple_of_the_median() -> None:
    assert measure_sink_norm(torch.tensor([1.0, 2.0, 3.0, 2.0, 4000.0]), 10.0) == 20.0
    x_ND = torch.tensor([[3.0, 4.0], [30.0, 40.0], [0.0, 5.0]])
    assert are_sinks(x_ND, 5.0).tolist() == [False, True, False]
    assert not are_sinks(x_ND, None).any()


def test_own_tokens_are_neither_the_opening_one_nor_the_templates() -> None:
    assert own_of_prompt(4).tolist() == [False, True, True, True]
    assert own_of_prompt(5, range(2, 4)).tolist() == [False, False, True, True, False]
    assert not own_of_prompt(3, range(2, 2)).any()


def test_own_tokens_of_a_batch_end_where_padding_begins() -> None:
    expected = [[False, True, True, True], [False, True, False, False]]
    assert own_of_batch(np.array([3, 1]), 4).tolist() == expected


def test_left_out_is_what_is_not_own_or_a_sink() -> None:
    x_LD = torch.ones(5, 2)
    x_LD[3] = 100.0
    assert left_out(x_LD, own_of_prompt(5, range(2, 5)), 10.0).tolist() == [True, True, False, True, False]
    assert left_out(x_LD, own_of_prompt(5, range(2, 5)), None).tolist() == [True, True, False, False, False]
