"""Losses against planted ones, and against transformers with a hook."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from pipeline.evaluation.held_out import Evaluator
from pipeline.evaluation.losses import MEAN, MODEL, ZERO, DocumentLosses, predict, replaced
from pipeline.evaluation.metrics import counted, reconstruct
from pipeline.models.hooks import AtHook
from pipeline.models.left_out import own_of_batch
from pipeline.models.sae import SparseActivations
from tests.support.fakes import make_corpus
from tests.support.models import WIDTH, tiny_language_model, tiny_llama, tiny_sae

BOS = 256
NONE = SparseActivations(torch.zeros(0).long(), torch.zeros(0).long(), torch.zeros(0))


def evaluator(model: Any, saes: dict[str, Any], corpus: TokenizedCorpus, batch_tokens: int = 64, bos: int = BOS) -> Any:
    def read(sequences: Any) -> list[Any]:
        return [corpus.opened(one, bos) for one in sequences.tolist()]

    return Evaluator(model, saes, read, 1e9, batch_tokens, "test")


# ---- Planted


class PlantedModel:
    """A document of token m alone has the loss `losses[m]` at every token; streams are [loss, m]."""

    width, device = 2, torch.device("cpu")

    def __init__(self, losses: list[float]) -> None:
        self.losses = torch.tensor(losses)

    def read(self, tokens_BL: Tensor) -> AtHook:
        document_BL = tokens_BL[:, 1:2].expand_as(tokens_BL)
        return AtHook(torch.stack([self.losses[document_BL], document_BL.float()], -1), None)

    def hidden_from(self, x_BLD: Tensor, beside_BLD: Tensor | None) -> Tensor:
        return x_BLD

    def head(self, hidden_ND: Tensor) -> Tensor:
        """Token m has the logit 0, each of the other V - 1 such a one that -log p(m) is the planted loss."""
        vocabulary = len(self.losses) + 1
        others_N1 = (torch.expm1(hidden_ND[:, :1]) / (vocabulary - 1)).log()
        logits_NV = others_N1.repeat(1, vocabulary)
        return logits_NV.scatter(1, hidden_ND[:, 1:].long(), 0.0)


class Adds:
    """An SAE that adds to the loss of a document what is planted for it."""

    def __init__(self, added: list[float]) -> None:
        self.added = torch.tensor(added)

    def encode_sparse(self, x_ND: Tensor, search: torch.dtype) -> SparseActivations:
        self.x_ND = x_ND
        return NONE

    def decode_sparse(self, sparse: SparseActivations, x_ND: Tensor) -> Tensor:
        assert torch.equal(self.x_ND, x_ND.float())
        return self.x_ND + torch.stack([self.added[self.x_ND[:, 1].long()], torch.zeros(len(x_ND))], 1)


def test_planted_losses_come_back_with_their_interval(tmp_path: Path) -> None:
    lengths, losses, added = [40, 25, 10, 70], [1.0, 2.0, 4.0, 1.5], [0.5, 0.1, 1.0, 0.3]
    corpus = make_corpus(tmp_path, [[m] * n for m, n in enumerate(lengths)], 16, held_out=range(4))
    found = evaluator(PlantedModel(losses), {"sae": Adds(added)}, corpus, bos=4).losses(corpus.sequences)
    assert found.tokens_M.tolist() == lengths

    tokens_M, loss_M = np.array(lengths, float), np.array(losses) * lengths
    counted_M = tokens_M - np.array([3, 2, 1, 5])  # a sequence's first token follows BOS, which keeps its own stream
    more_M = np.array(added) * counted_M
    assert found.loss[MODEL] == pytest.approx(loss_M, rel=1e-6)
    own = found.of_model()
    assert own.value == pytest.approx(loss_M.sum() / 145, rel=1e-6)
    measured = found.added("sae")
    value = more_M.sum() / 145
    error = np.sqrt(4 / 3 * np.square(more_M - value * tokens_M).sum()) / 145
    assert measured.value == pytest.approx(value, rel=1e-5)
    assert measured.standard_error == pytest.approx(error, rel=1e-4)
    assert measured.interval() == pytest.approx((value - 3.18245 * error, value + 3.18245 * error), rel=1e-3)


def planted(model: list[float], sae: list[float], mean: list[float], zero: list[float]) -> dict[str, Any]:
    """Metrics of documents of 100 tokens with these losses."""
    named = {MODEL: model, "sae": sae, MEAN: mean, ZERO: zero}
    loss = {name: 100 * np.array(one) for name, one in named.items()}
    return DocumentLosses(np.full(len(model), 100.0), loss, {"sae": np.zeros(len(model))}).metrics("sae")


def test_recovered_is_against_each_baseline() -> None:
    found = planted([3.0, 3.2], [3.5, 3.7], [8.0, 8.2], [10.8, 10.8])
    assert found["loss_added"] == pytest.approx(0.5)
    assert found["recovered_mean"] == pytest.approx(0.9)
    assert found["recovered_zero"] == pytest.approx((21.6 - 7.2) / (21.6 - 6.2))
    low, high = found["recovered_zero_ci"]
    assert low < found["recovered_zero"] < high
    assert found["num_ce_tokens"] == 200
    assert found["num_ce_documents"] == 2


def test_a_baseline_that_is_no_worse_than_the_model_gives_no_ratio() -> None:
    found = planted([5.0, 5.0, 5.1], [5.1, 5.0, 5.1], [5.05, 4.9, 5.2], [5.0, 5.0, 5.0])
    assert found["recovered_mean"] is found["recovered_mean_ci"] is None
    assert found["recovered_zero"] is found["recovered_zero_ci"] is None


def test_one_document_has_no_interval() -> None:
    found = planted([3.0], [3.5], [8.0], [10.8])
    assert found["loss_added_ci"] is found["ce_ci"] is found["kl_ci"] is None
    assert found["recovered_mean"] == pytest.approx(0.9)
    assert found["num_ce_documents"] == 1


# ---- A real model


def naive_cross_entropy(sequence: list[int], change: Tensor | None, keep: int = 1) -> tuple[float, Tensor]:
    """Plain transformers in float64, the output of layer 1 replaced after the first `keep` positions by a hook."""
    model = tiny_llama().double()

    def hook(module: torch.nn.Module, inputs: object, output: Tensor) -> Tensor:
        return output if change is None else torch.cat([output[:, :keep], change.double()[None]], 1)

    model.model.layers[1].register_forward_hook(hook)
    tokens = torch.tensor([[BOS, *sequence]])
    with torch.no_grad():
        logs = torch.log_softmax(model(tokens, use_cache=False).logits[0, :-1], -1)
    return float(-logs.gather(1, tokens[0, 1:, None]).sum()), logs


def test_cross_entropy_and_divergence_match_transformers_with_a_hook() -> None:
    model = tiny_language_model()
    sequence = torch.randint(0, 250, (17,), generator=torch.Generator().manual_seed(1)).tolist()
    tokens_BL = torch.tensor([[BOS, *sequence, BOS, BOS, BOS]])
    own_BL = own_of_batch(np.array([17]), tokens_BL.shape[1])
    x_BLD = model.residuals(tokens_BL)
    counted_BL = counted(x_BLD, own_BL, 1e9)
    _, x_hat_ND = reconstruct(tiny_sae(), x_BLD[counted_BL])
    streams = {MODEL: x_BLD, "sae": replaced(x_BLD, counted_BL, x_hat_ND)}
    found = predict(model, tokens_BL, own_BL, streams)
    _, base_logs = naive_cross_entropy(sequence, None)
    for name, change in ((MODEL, None), ("sae", x_hat_ND)):
        loss, logs = naive_cross_entropy(sequence, change)
        divergence = float((base_logs.exp() * (base_logs - logs)).sum())
        assert found.loss[name].tolist() == pytest.approx([loss], rel=1e-4)
        if name != MODEL:
            assert found.divergence[name].tolist() == pytest.approx([divergence], rel=1e-3, abs=1e-4)


def test_baselines_are_the_mean_at_counted_tokens_and_zero_everywhere(tmp_path: Path) -> None:
    sequence = torch.randint(0, 250, (20,), generator=torch.Generator().manual_seed(2)).tolist()
    corpus = make_corpus(tmp_path, [sequence], 32, held_out=[0])
    mean_D = torch.linspace(-1, 1, WIDTH)
    found = evaluator(tiny_language_model(), {}, corpus).losses(corpus.sequences, mean_D)
    by_mean, _ = naive_cross_entropy(sequence, mean_D.expand(20, -1))
    by_zero, _ = naive_cross_entropy(sequence, torch.zeros(21, WIDTH), keep=0)
    assert found.loss[MEAN].tolist() == pytest.approx([by_mean], rel=1e-4)
    assert found.loss[ZERO].tolist() == pytest.approx([by_zero], rel=1e-4)
    assert by_zero / 20 == pytest.approx(np.log(300)), "a Llama has no biases: zeros give a uniform guess"


def test_losses_do_not_depend_on_batches_and_know_a_perfect_sae(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 250, length).tolist() for length in (30, 70, 7, 12)]
    corpus = make_corpus(tmp_path, texts, 32, held_out=[0, 1, 2, 3])
    perfect = tiny_sae(2 * WIDTH)
    perfect.W_dec_FD = torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)])
    perfect.W_enc_FD, perfect.b_enc_F, perfect.b_dec_D = perfect.W_dec_FD, torch.zeros(2 * WIDTH), torch.zeros(WIDTH)
    results = []
    for batch_tokens in (8, 256):
        one = evaluator(tiny_language_model(), {"perfect": perfect, "random": tiny_sae()}, corpus, batch_tokens)
        found = one.losses(corpus.sequences, torch.zeros(WIDTH)).metrics("perfect")
        results.append(found | one.reconstruct(corpus.sequences)["perfect"].metrics())
    numbers = [{name: value for name, value in found.items() if isinstance(value, float)} for found in results]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=1e-6)
    found = results[0]
    assert found["explained_variance"] == pytest.approx(1.0, abs=1e-6)
    assert found["loss_added"] == pytest.approx(0.0, abs=1e-5)
    assert found["kl"] == pytest.approx(0.0, abs=1e-5)
    assert found["l0"] == pytest.approx(WIDTH, abs=0.1)
    assert found["num_tokens"] == found["num_ce_tokens"] == 119
    assert found["num_ce_documents"] == 4
