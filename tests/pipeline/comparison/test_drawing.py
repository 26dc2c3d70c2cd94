"""What is drawn: neurons as a dictionary, what counts as active, and who is passed over."""

import numpy as np
import torch

from data.artifacts.comparison import NEURONS_GROUP
from pipeline.comparison.drawing import CUT, Texts, draw_features, draw_neurons, neuron_dictionary
from pipeline.comparison.reading import BLOCK_TOKENS, ChosenNeurons, ReadText
from pipeline.models.sae import SAE, SAEHeader

N, U, D = 600, 12, 5


def text(seed: int) -> ReadText:
    rng = torch.Generator().manual_seed(seed)
    x_ND, neurons_NU = torch.randn(N, D, generator=rng), torch.randn(N, U, generator=rng)
    neurons_NU[:, 3] = -neurons_NU[:, 3].abs()
    neurons_NU[5:, 7] = -1
    token_N = (np.arange(N) // 100 << 32) | (np.arange(N) % 100)
    return ReadText(x_ND, neurons_NU, token_N)


TEXTS = Texts(text(0), text(1))


def test_a_dictionary_of_neurons_gives_their_activations_above_their_thresholds() -> None:
    columns, thresholds = np.array([1, 4, 9]), np.float32([0.5, 0.0, 1.0])
    neurons_NU = TEXTS.training.neurons_NU
    found = neuron_dictionary(columns, thresholds, U).encode(neurons_NU)
    chosen_NC = neurons_NU[:, columns]
    torch.testing.assert_close(found, torch.where(chosen_NC > torch.from_numpy(thresholds), chosen_NC, 0.0))


def test_neurons_are_the_first_of_the_pool_that_are_active_enough() -> None:
    pool = np.array([9, 3, 7, 0, 11, 2])
    found = draw_neurons(np.arange(U), pool, TEXTS, 3, 10)
    assert found.name == NEURONS_GROUP
    assert found.number_C.tolist() == [0, 9, 11]  # 3 is never above zero, and 7 on five tokens
    assert found.num_passed_over == 2
    for number, threshold, active in zip(found.number_C, found.threshold_C, found.num_active_C, strict=True):
        value_N = TEXTS.training.neurons_NU[:, number]
        assert threshold == np.float32(CUT) * value_N.max().item()
        assert active == (value_N > threshold).sum()


def test_fewer_are_drawn_where_the_pool_has_no_more() -> None:
    found = draw_neurons(np.arange(U), np.array([3, 7, 5]), TEXTS, 3, 10)
    assert (found.number_C.tolist(), found.num_passed_over) == ([5], 2)


def test_features_are_cut_in_the_same_way() -> None:
    header = SAEHeader("0-relu-8", "relu", "relu", 8, D, "tiny", 0)
    W_FD = torch.randn(8, D, generator=torch.Generator().manual_seed(2))
    sae = SAE(header, W_FD, torch.full((8,), -0.5), W_FD, torch.zeros(D), torch.zeros(8))
    found = draw_features("0-relu-8", sae, np.array([6, 1, 4]), TEXTS, 2, 10)
    assert found.number_C.tolist() == [1, 6]
    acts_NF = sae.encode(TEXTS.training.x_ND)
    for number, active in zip(found.number_C, found.num_active_C, strict=True):
        assert active == (acts_NF[:, number] > CUT * acts_NF[:, number].max()).sum()
    kept_NF = found.sae.encode(TEXTS.held_out.x_ND)[:, found.place_C]
    held_out_NF = sae.encode(TEXTS.held_out.x_ND)[:, found.number_C]
    torch.testing.assert_close(kept_NF, torch.where(held_out_NF > torch.from_numpy(found.threshold_C), held_out_NF, 0))


def test_a_topk_sae_is_used_whole() -> None:
    header = SAEHeader("0-topk-8", "topk", "topk", 8, D, "tiny", 0, k=2)
    W_FD = torch.randn(8, D, generator=torch.Generator().manual_seed(2))
    sae = SAE(header, W_FD, torch.zeros(8), W_FD, torch.zeros(D), torch.zeros(8))
    found = draw_features("0-topk-8", sae, np.array([6, 1, 4]), TEXTS, 2, 10)
    assert found.sae is sae
    assert found.place_C.tolist() == found.number_C.tolist()
    assert found.num_active_C.tolist() == (sae.encode(TEXTS.training.x_ND) > 0).sum(0)[found.number_C].tolist()


def test_slices_hold_whole_sequences_and_rows_are_found_by_token() -> None:
    lengths = [3000, 1000, 200, 5000, 4000, 96]
    token_N = np.concatenate([(np.int64(9 - n) << 32) | np.arange(k) for n, k in enumerate(lengths)])
    one = ReadText(torch.zeros(len(token_N), 1), torch.zeros(len(token_N), 1), np.delete(token_N, 10))
    found = list(one.slices())
    assert [rows.start for rows in found] == [0, *(rows.stop for rows in found[:-1])]
    assert found[-1].stop == one.num_tokens
    assert [rows.stop - rows.start for rows in found] == [3999, 200, 5000, 4096]
    assert all(k <= BLOCK_TOKENS or k == 5000 for k in (rows.stop - rows.start for rows in found))
    assert one.rows(np.array([token_N[0], token_N[10], token_N[11], token_N[-1]])).tolist() == [
        0,
        -1,
        10,
        len(token_N) - 2,
    ]


def test_neurons_of_a_layer_are_found() -> None:
    chosen = ChosenNeurons(np.array([2, 9, 11, 40]), torch.device("cpu"))
    places, among = chosen.in_layer(1, 8)
    assert (places.tolist(), among) == ([1, 3], slice(1, 3))
    assert chosen.in_layer(2, 8) is None
    assert len(chosen) == 4
