"""Several hooks in one forward pass: to the bit what a model cut at each of them reads."""

import copy

import pytest
import torch

from pipeline.models.errors import ModelError
from pipeline.models.language_model import LanguageModel
from pipeline.models.several import SeveralHooks
from tests.support.architectures import KINDS
from tests.support.models import tiny_llama

TOKENS = torch.randint(3, 97, (3, 11), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2", "pythia"])
def test_every_hook_of_every_layer_is_read_at_once(kind: str, dtype: torch.dtype) -> None:
    model = KINDS[kind].make().to(dtype)
    hooks = [(layer, hook) for layer in range(3) for hook in KINDS[kind].hooks]
    whole = LanguageModel(copy.deepcopy(model), layer=2, only_until_layer=True)
    found = SeveralHooks(whole, hooks).read(TOKENS)
    for (layer, hook), x_BLD in zip(hooks, found, strict=True):
        alone = LanguageModel(copy.deepcopy(model), layer=layer, hook=hook, only_until_layer=True)
        assert torch.equal(x_BLD, alone.residuals(TOKENS)), (layer, hook)


def test_a_layer_is_read_before_it_is_run() -> None:
    """resid_pre of a layer, beside what is in the layer below: the model is run up to that one alone."""
    model = LanguageModel(tiny_llama(), layer=2, hook="resid_pre", only_until_layer=True)
    before, mlp = SeveralHooks(model, [(2, "resid_pre"), (1, "mlp")]).read(TOKENS)
    for x_BLD, (layer, hook) in ((before, (2, "resid_pre")), (mlp, (1, "mlp"))):
        alone = LanguageModel(tiny_llama(), layer=layer, hook=hook)  # type: ignore[arg-type]
        assert torch.equal(x_BLD, alone.residuals(TOKENS))


def test_a_hook_that_the_model_has_not_is_said() -> None:
    model = LanguageModel(KINDS["pythia"].make(), layer=2)
    with pytest.raises(ModelError, match="no stream between attention and MLP"):
        SeveralHooks(model, [(2, "resid_post"), (1, "resid_mid")])
