"""Effects at single tokens against transformers, whole, with a hook that takes the feature out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.models.effects import LlamaLayers, Places
from pipeline.models.language_model import LanguageModel
from pipeline.models.plain_effects import make_later_layers
from pipeline.models.sae import SAE
from tests.support.architectures import qwen
from tests.support.models import tiny_language_model, tiny_sae

TEXTS = [[256, 11, 42, 7, 99, 3, 42, 8], [256, 5, 17, 230], [256, 1, 2, 3, 4, 5, 6]]
CASES = [(0, 7, 3), (0, 7, 5), (0, 4, 3), (0, 1, 9), (1, 3, 3), (1, 0, 2), (2, 2, 11), (2, 2, None)]
"""Text, position, and the feature that is taken out there; None: none."""
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 0.02}
"""Of log-probabilities, in nats. In bfloat16 the reference runs the layers after N in float32, from the same stream."""


def hooked(model: LanguageModel, sae: SAE, text: Sequence[int], position: int, feature: int | None) -> Tensor:
    """Log-probabilities of what follows a position, by transformers in the dtype of the model."""

    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        if feature is None:
            return output
        changed = output.clone()
        x_D = output[0, position].float()
        changed[0, position] = (x_D - sae.encode(x_D[None])[0, feature] * sae.W_dec_FD[feature]).to(output.dtype)
        return changed

    handle = model.layers[1].register_forward_hook(hook)
    try:
        return model.logits(torch.tensor([list(text)]))[0, position].float().log_softmax(0)
    finally:
        handle.remove()


def streams_of(model: LanguageModel) -> Tensor:
    """The residual streams of the texts, padded, in one batch."""
    return model.residuals(torch.tensor([[*text, *[256] * (8 - len(text))] for text in TEXTS]))


def measured(model: LanguageModel, sae: SAE) -> Tensor:
    x_BLD = streams_of(model)
    places = Places(*(torch.tensor([case[column] for case in CASES]) for column in (0, 1)))
    x_CD = x_BLD[places.text_C, places.position_C].float()
    for row, (_, _, feature) in enumerate(CASES):
        if feature is not None:
            x_CD[row] -= sae.encode(x_CD[row][None])[0, feature] * sae.W_dec_FD[feature]
    hidden_CD = LlamaLayers(model).hidden(x_BLD, places, x_CD)
    return (hidden_CD @ model.model.lm_head.weight.float().T).log_softmax(1)


def test_cases_equal_a_hook_on_transformers_in_float32() -> None:
    model, sae = tiny_language_model(), tiny_sae()
    found_CV = measured(model, sae)
    expected_CV = torch.stack([hooked(model, sae, TEXTS[text], *rest) for text, *rest in CASES])
    torch.testing.assert_close(found_CV, expected_CV, atol=TOLERANCE[torch.float32], rtol=0)
    plain_CV = torch.stack([hooked(model, sae, TEXTS[text], position, None) for text, position, _ in CASES])
    changed_C = (expected_CV - plain_CV).abs().amax(1)
    assert (changed_C > 0.01).sum() >= 3, "features matter"
    assert changed_C[-1] == 0


def test_cases_in_bfloat16_equal_float32_from_the_same_stream() -> None:
    model, sae = tiny_language_model(dtype=torch.bfloat16), tiny_sae()
    # Those of the batch, for some processors round them otherwise than those of a text alone.
    streams = {len(text): x_LD[None, : len(text)].float() for text, x_LD in zip(TEXTS, streams_of(model), strict=True)}
    wide = tiny_language_model()
    for parameter, narrow in zip(wide.model.parameters(), model.model.parameters(), strict=True):
        parameter.data = narrow.data.float()
    wide.layers[1].register_forward_hook(lambda module, inputs, output: streams[output.shape[1]])
    expected_CV = torch.stack([hooked(wide, sae, TEXTS[text], *rest) for text, *rest in CASES])
    torch.testing.assert_close(measured(model, sae), expected_CV, atol=TOLERANCE[torch.bfloat16], rtol=0)


def test_a_llama_is_run_by_our_own_layers() -> None:
    assert isinstance(make_later_layers(tiny_language_model()), LlamaLayers)
    assert not isinstance(make_later_layers(LanguageModel(qwen(), layer=0)), LlamaLayers)
