"""Processors without oneDNN's bfloat16: the same results by PyTorch's own products, and the reason is said."""

import pytest
import torch

from pipeline.models.decoder import Decoder
from pipeline.models.decoder_parts import Linear
from pipeline.models.language_model import LanguageModel
from pipeline.models.onednn import multiply, multiply_times, onednn_obstacle, pack
from pipeline.recipe import SAEConfig
from pipeline.stages.train import make_architecture
from tests.support.decoding import write
from tests.support.models import WIDTH, tiny_language_model, tiny_llama, tiny_sae

PROMPTS = [[256, 7, 9], [256, 40, 41, 42, 43, 44], [256, 100]]


def test_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def _is_mkldnn_bf16_supported(self) -> bool:
            return True

        def _reorder_linear_weight(self, *given: object) -> torch.Tensor:
            raise RuntimeError("no kernel\nand a trace")

    monkeypatch.setattr(torch._C, "_has_mkldnn", True)
    monkeypatch.setattr(torch.ops, "mkldnn", torch._ops._OpNamespace("none"))
    assert "has no attribute" in str(onednn_obstacle())
    monkeypatch.setattr(torch.ops, "mkldnn", Refusing())
    assert onednn_obstacle() == "this PyTorch has no bfloat16 products by oneDNN (no kernel)"
    monkeypatch.setattr(Refusing, "_is_mkldnn_bf16_supported", lambda self: False)
    assert onednn_obstacle() == "this processor has no bfloat16 products by oneDNN"
    monkeypatch.setattr(torch._C, "_has_mkldnn", False)
    assert onednn_obstacle() == "this PyTorch has no oneDNN"


def test_packed_products_are_products() -> None:
    if (reason := onednn_obstacle()) is not None:
        pytest.skip(reason)
    x, weight, other = (torch.randn(size).bfloat16() for size in ((5, 16), (24, 16), (5, 24)))
    product = x.float() @ weight.float().T
    close = {"rtol": 0.02, "atol": 0.02}
    torch.testing.assert_close(multiply(x, pack(weight)).float(), product, **close)
    swish = torch.nn.functional.silu(product)
    torch.testing.assert_close(multiply(x, pack(weight, 64), then="swish").float(), swish, **close)
    times = multiply_times(x, other, pack(weight)).float()
    torch.testing.assert_close(times, product * other.float(), **close)


def test_maps_that_are_joined_are_not_packed_where_nothing_can_be(hidden: None) -> None:
    layers = [torch.nn.Linear(16, size, dtype=torch.bfloat16) for size in (4, 8)]
    x = torch.randn(3, 16).bfloat16()
    expected = torch.cat([layer(x) for layer in layers], dim=1)
    torch.testing.assert_close(Linear(layers)(x), expected)


def test_the_layers_of_transformers_take_the_place_of_fused_ones(hidden: None) -> None:
    model = tiny_language_model(dtype=torch.bfloat16)
    assert model.implementation.endswith("(no fused ones: this PyTorch has no oneDNN), their products in float32")
    tokens = torch.tensor([PROMPTS[1]])
    plain = LanguageModel(tiny_llama().bfloat16(), layer=1, fused=False)
    assert torch.equal(model.residuals(tokens), plain.residuals(tokens))


def test_a_text_is_the_same_in_any_company_and_as_transformers_writes_it(hidden: None) -> None:
    model = tiny_language_model(dtype=torch.bfloat16)
    decoder, exact = Decoder(model), tiny_llama().bfloat16().float()
    together = write(decoder, PROMPTS * 3, 6)
    for prompt, (text, logits) in zip(PROMPTS * 3, together, strict=True):
        ((alone, expected),) = write(decoder, [prompt], 6)
        assert alone == text
        assert torch.equal(expected, logits)
        with torch.no_grad():
            plain = exact(input_ids=torch.tensor([prompt + text[:-1]])).logits[0, -1]
        assert float((logits - plain).norm() / plain.norm()) < 0.05


def test_features_are_found_the_same_without_low_precision(hidden: None) -> None:
    sae = tiny_sae(nonlinearity="relu")
    x_BD = torch.randn(50, WIDTH)
    (found,) = sae.encode_by_feature(x_BD, torch.bfloat16)
    expected = sae.encode(x_BD).T.nonzero(as_tuple=True)
    assert torch.equal(found.feature_K, expected[0])
    assert torch.equal(found.token_K, expected[1])
    assert sae.pre_activations(x_BD, dtype=torch.bfloat16).equal(sae.pre_activations(x_BD))


def test_autoencoders_train_with_products_in_float32(hidden: None) -> None:
    for architecture, more in (("relu", {}), ("batchtopk", {"k": 4})):
        config = SAEConfig(architecture=architecture, num_features=24, learning_rate=1e-3, **more)
        made = make_architecture(config, WIDTH, dead_window=100, seed=0, device="cpu")
        assert made.low == torch.float32
        losses = [made.step(torch.randn(64, WIDTH), learning_rate=1e-2, warmup=1.0).loss for _ in range(30)]
        assert losses[-1] < losses[0]
