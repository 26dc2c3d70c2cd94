"""Metrics against plain formulas, and against transformers with a hook."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.activations.batches import read_batch
from pipeline.evaluation.held_out import MODEL, ZERO, Evaluation
from pipeline.evaluation.metrics import Reconstruction, counted, density_histogram, predict, reconstruct, replaced
from pipeline.models.sae import SparseActivations
from tests.support.fakes import make_corpus
from tests.support.models import WIDTH, tiny_language_model, tiny_llama, tiny_sae

BOS = 256


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
    assert torch.equal(counted(x_BLD, np.array([4, 2]), sink_norm=20.0), expected)


def naive_cross_entropy(sequence: list[int], change: Tensor | None) -> tuple[float, Tensor]:
    """Plain transformers in float64, the output of layer 1 replaced after BOS by a hook."""
    model = tiny_llama().double()

    def hook(module: torch.nn.Module, inputs: object, output: Tensor) -> Tensor:
        return output if change is None else torch.cat([output[:, :1], change.double()[None]], 1)

    model.model.layers[1].register_forward_hook(hook)
    tokens = torch.tensor([[BOS, *sequence]])
    with torch.no_grad():
        logs = torch.log_softmax(model(tokens, use_cache=False).logits[0, :-1], -1)
    return float(-logs.gather(1, tokens[0, 1:, None]).sum()), logs


def test_cross_entropy_and_divergence_match_transformers_with_a_hook(tmp_path: object) -> None:
    model = tiny_language_model()
    sequence = torch.randint(0, 250, (17,), generator=torch.Generator().manual_seed(1)).tolist()
    tokens_BL = torch.tensor([[BOS, *sequence, BOS, BOS, BOS]])
    lengths_B = np.array([17])
    x_BLD = model.residuals(tokens_BL)
    counted_BL = counted(x_BLD, lengths_B, 1e9)
    _, x_hat_ND = reconstruct(tiny_sae(), x_BLD[counted_BL])
    streams = {"model": x_BLD, "sae": replaced(x_BLD, counted_BL, x_hat_ND), "zero": replaced(x_BLD, counted_BL, 0.0)}
    found = predict(model, tokens_BL, lengths_B, streams, "model")
    _, base_logs = naive_cross_entropy(sequence, None)
    for name, change in (("model", None), ("sae", x_hat_ND), ("zero", torch.zeros(17, WIDTH))):
        loss, logs = naive_cross_entropy(sequence, change)
        divergence = float((base_logs.exp() * (base_logs - logs)).sum())
        assert found[name].cross_entropy == pytest.approx(loss, rel=1e-4)
        assert found[name].divergence == pytest.approx(divergence, rel=1e-3, abs=1e-4)


def test_evaluation_does_not_depend_on_batches_and_knows_a_perfect_sae(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 250, length).tolist() for length in (30, 30, 7, 12)]
    corpus = make_corpus(tmp_path_factory.mktemp("corpus"), texts, 32, held_out=[0, 1, 2, 3])
    perfect = tiny_sae(2 * WIDTH)
    perfect.W_dec_FD = torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)])
    perfect.W_enc_FD, perfect.b_enc_F, perfect.b_dec_D = perfect.W_dec_FD, torch.zeros(2 * WIDTH), torch.zeros(WIDTH)
    results = []
    for batches in ([[0, 1], [2, 3]], [[0], [1], [2], [3]]):
        evaluation = Evaluation(tiny_language_model(), {"perfect": perfect, "random": tiny_sae()}, 1e9, 10**6)
        for numbers in batches:
            evaluation.add(read_batch(corpus, np.array(numbers), BOS))
        results.append({name: evaluation.metrics(name) for name in ("perfect", "random")})
    for name in ("perfect", "random"):
        assert results[0][name] == pytest.approx(results[1][name], rel=1e-4)
    found = results[0]["perfect"]
    assert found["explained_variance"] == pytest.approx(1.0, abs=1e-6)
    assert found["ce_recovered"] == pytest.approx(1.0, abs=1e-5)
    assert found["kl"] == pytest.approx(0.0, abs=1e-6)
    assert found["l0"] == pytest.approx(WIDTH, abs=0.1)
    assert found["num_tokens"] == found["num_ce_tokens"] == 79
    assert results[0]["random"]["explained_variance"] < 0.5
    assert {MODEL, ZERO}.isdisjoint(results[0])


def test_density_histogram_counts_every_feature_once() -> None:
    density_F = np.array([0, 0, 1e-9, 1e-7, 0.05, 0.05, 1.0], np.float32)
    found = density_histogram(density_F)
    assert isinstance(found["counts"], list)
    assert found["dead"] == 2
    assert sum(found["counts"]) == 5
    assert found["counts"][0] == 2
    assert found["counts"][-1] == 1
