"""Float32 arithmetic on the weights as they lie in memory, against a widened copy of the whole model."""

import copy

import pytest
import torch
from torch import Tensor

from pipeline.models.errors import ModelError
from pipeline.models.exact import ExactModel
from pipeline.models.language_model import LanguageModel
from tests.support.architectures import LAYER, MODELS
from tests.support.models import tiny_llama

TOKENS = torch.tensor([[1, 5, 9, 60, 33, 8, 2, 96, 11], [1, 7, 7, 4, 20, 51, 3, 3, 3]])


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def rounded(request: pytest.FixtureRequest) -> LanguageModel:
    """A model in bfloat16."""
    return LanguageModel(request.param().to(torch.bfloat16), layer=LAYER)


def widened_logits(rounded: LanguageModel) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(rounded.model).float()(input_ids=TOKENS, use_cache=False).logits


def test_equals_the_whole_model_in_float32(rounded: LanguageModel) -> None:
    model, expected = ExactModel(rounded), widened_logits(rounded)
    with torch.no_grad():
        hidden = model.hidden_from(model.residuals_from(model.embed(TOKENS))).flatten(0, 1)
    torch.testing.assert_close(model.logits(hidden, range(97)).view_as(expected), expected, atol=1e-4, rtol=1e-4)
    found = model.log_probabilities(hidden).view_as(expected)
    torch.testing.assert_close(found, expected.log_softmax(-1), atol=1e-4, rtol=1e-4)
    assert (rounded.logits(TOKENS).float() - expected).abs().max() > 1e-3  # bfloat16 itself does not come that near


def test_gradients_equal_those_of_the_model_in_float32(rounded: LanguageModel) -> None:
    model = ExactModel(rounded)
    embedding = model.embed(TOKENS).requires_grad_()
    logit = model.logits(model.hidden_from(model.residuals_from(embedding))[:, -1], [3]).sum()
    (found,) = torch.autograd.grad(logit, embedding)
    plain, leaf = copy.deepcopy(rounded.model).float(), embedding.detach().requires_grad_()
    (expected,) = torch.autograd.grad(plain(inputs_embeds=leaf, use_cache=False).logits[:, -1, 3].sum(), leaf)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_weights_stay_as_they_are_and_shared(rounded: LanguageModel) -> None:
    model, before = ExactModel(rounded), rounded.logits(TOKENS)
    embedding = model.embed(TOKENS).requires_grad_()
    model.hidden_from(model.residuals_from(embedding)).sum().backward()
    own = {parameter.data_ptr() for parameter in rounded.model.parameters()}
    for part in (model._cut._until, model._later._core):
        assert {parameter.data_ptr() for parameter in part.parameters()} <= own
    assert all(parameter.dtype == torch.bfloat16 and parameter.grad is None for parameter in rounded.model.parameters())
    assert torch.equal(rounded.logits(TOKENS), before)


def test_the_vocabulary_in_tiles_equals_the_vocabulary_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ExactModel(LanguageModel(tiny_llama(), layer=1))
    hidden = torch.randn(3, 32)
    whole = model.log_probabilities(hidden)
    monkeypatch.setattr("pipeline.models.exact.VOCABULARY_TILE", 77)
    torch.testing.assert_close(model.log_probabilities(hidden), whole)


def test_a_model_without_its_head_is_refused() -> None:
    with pytest.raises(ModelError, match="load it whole"):
        ExactModel(LanguageModel(tiny_llama(), layer=1, only_until_layer=True))
