from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertLMHeadModel,
    CohereConfig,
    CohereForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from pipeline.models import fused
from pipeline.models.decoding import AnyDecoder, make_decoder, move_decoder
from pipeline.models.errors import ModelError
from pipeline.models.hooks import Hook
from pipeline.models.language_model import LanguageModel
from tests.support.architectures import LAYER, MODELS, SIZES, llama, qwen


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def plain(request):
    return request.param()


def sequences() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 97, (length,), generator=generator) for length in (17, 9, 1)]


def padded() -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(sequences(), batch_first=True, padding_value=3)


@torch.no_grad()
def test_residuals_are_the_hidden_states_whatever_the_padding(plain):
    x_BLD = LanguageModel(plain, layer=LAYER).residuals(padded())
    for x_LD, tokens_L in zip(x_BLD, sequences(), strict=True):
        states = plain(tokens_L[None], output_hidden_states=True).hidden_states
        torch.testing.assert_close(x_LD[: len(tokens_L)], states[LAYER + 1][0], atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_logits_from_the_residuals_are_the_logits(plain):
    model = LanguageModel(plain, layer=LAYER)
    expected = plain(padded()).logits
    torch.testing.assert_close(model.logits(padded()), expected)
    torch.testing.assert_close(model.logits_from(model.residuals(padded())), expected)


def test_the_last_layer_can_be_read(plain):
    model = LanguageModel(plain, layer=3)
    torch.testing.assert_close(model.logits_from(model.residuals(padded())), model.logits(padded()))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_cut_at_another_hook_is_as_if_loaded_so(dtype):
    weights = llama().to(dtype)
    model = LanguageModel(weights, layer=LAYER)
    decoder = make_decoder(model)
    hooks: list[tuple[int, Hook]] = [(0, "mlp"), (3, "resid_pre"), (1, "attn"), (LAYER, "resid_mid"), (3, "resid_post")]
    for layer, hook in hooks:
        model = model.at(layer, hook)
        decoder, fresh = move_decoder(decoder, model), LanguageModel(weights, layer=layer, hook=hook)
        assert torch.equal(model.residuals(padded()), fresh.residuals(padded()))
        assert torch.equal(written(decoder), written(make_decoder(fresh)))
    with pytest.raises(ModelError, match="loaded up to layer 1 only"):
        LanguageModel(llama(), layer=1, only_until_layer=True).at(0, "mlp")


def written(decoder: AnyDecoder) -> torch.Tensor:
    """Logits behind a prompt with half of what stands at the hook."""
    logits = decoder.read([[5, 7, 11]], [decoder.cache(8)], lambda row, x_LD, positions_L: x_LD / 2)
    assert logits is not None
    return logits


@pytest.mark.parametrize("only_until_layer", [False, True])
@pytest.mark.parametrize(
    ("model", "config", "options"),
    [
        (GraniteForCausalLM, GraniteConfig, {"logits_scaling": 4.0}),
        (CohereForCausalLM, CohereConfig, {"logit_scale": 0.0625}),
    ],
)
def test_a_model_that_does_more_than_its_parts_is_refused(model, config, options, only_until_layer):
    torch.manual_seed(0)
    made = model(config(**SIZES, num_attention_heads=4, num_key_value_heads=2, **options))
    with pytest.raises(ModelError, match=f"{model.__name__} does more around its layers"):
        LanguageModel(made, layer=LAYER, only_until_layer=only_until_layer)


def test_logits_from_has_a_gradient():
    model = LanguageModel(llama(), layer=LAYER)
    x_BLD = model.residuals(padded()).requires_grad_()
    model.logits_from(x_BLD)[0, 5, 7].backward()
    assert x_BLD.grad[0, :6].abs().amin() > 0
    assert x_BLD.grad[0, 6:].abs().amax() == 0


@torch.no_grad()
def test_the_later_layers_are_not_run():
    plain = llama()
    model = LanguageModel(plain, layer=1)
    ran = []
    for number, layer in enumerate(plain.model.layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    model.residuals(padded())
    assert ran == [0, 1]


def neurons_of(model: LanguageModel, tokens_BL: torch.Tensor) -> list[torch.Tensor]:
    """Of the layers in their order; the residual stream must be the one that is read without them."""
    found: dict[int, torch.Tensor] = {}
    x_BLD = model.residuals_and_neurons(
        tokens_BL, lambda layer, neurons_BLM: found.update({layer: neurons_BLM.clone()})
    )
    torch.testing.assert_close(x_BLD, model.residuals(tokens_BL), atol=0, rtol=0)
    assert list(found) == list(range(model.layer + 1))
    return list(found.values())


def test_the_fused_layers_give_the_same_neurons():
    rounded = llama().bfloat16()
    if fused.fusing_obstacle(rounded.model) is not None:
        pytest.skip("there are no fused layers here")
    ours, plain = (
        neurons_of(LanguageModel(rounded, layer=LAYER, fused=with_fused), padded()) for with_fused in (True, False)
    )
    for own_BLM, expected_BLM in zip(ours, plain, strict=True):
        torch.testing.assert_close(own_BLM, expected_BLM, atol=0.03, rtol=0.03)


@torch.no_grad()
def test_mlp_neurons_of_all_layers_up_to_the_hook():
    plain = llama()
    neurons = neurons_of(LanguageModel(plain, layer=1), padded())
    assert LanguageModel(plain, layer=1).neurons_per_layer() == 80
    assert [tuple(n.shape) for n in neurons] == [(3, 17, 80)] * 2
    x_BLD = plain.model.embed_tokens(padded())
    first = plain.model.layers[0]
    attended = (
        x_BLD
        + first.self_attn(
            first.input_layernorm(x_BLD),
            position_embeddings=plain.model.rotary_emb(x_BLD, torch.arange(17)[None]),
        )[0]
    )
    normed = first.post_attention_layernorm(attended)
    torch.testing.assert_close(neurons[0], first.mlp.act_fn(first.mlp.gate_proj(normed)) * first.mlp.up_proj(normed))


@torch.no_grad()
def test_unembedding_gives_the_logits():
    plain = llama()
    plain.model.norm.weight.copy_(torch.rand(48) + 0.5)
    model = LanguageModel(plain, layer=3)
    x_BLD = model.residuals(padded())
    scale_D, W_U_VD = model.unembedding()
    rms = (x_BLD.square().mean(-1, keepdim=True) + plain.config.rms_norm_eps).sqrt()
    torch.testing.assert_close((x_BLD / rms * scale_D) @ W_U_VD.T, model.logits(padded()))
    torch.testing.assert_close(scale_D, plain.model.norm.weight)


def test_only_until_layer_forgets_the_rest(tmp_path: Path):
    llama().save_pretrained(tmp_path)
    whole = LanguageModel.load(tmp_path, layer=1, dtype="float32")
    part = LanguageModel.load(tmp_path, layer=1, dtype="float32", only_until_layer=True)
    assert part.num_layers == 4
    assert len(part.layers) == 2
    torch.testing.assert_close(part.residuals(padded()), whole.residuals(padded()))
    with pytest.raises(ModelError, match="load it whole"):
        part.logits(padded())


def test_bad_requests_say_what_to_do(tmp_path: Path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        LanguageModel.load(tmp_path, layer=1)
    llama().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"layer 4 is out of range: the model has layers 0 to 3"):
        LanguageModel.load(tmp_path, layer=4)
    with pytest.raises(ModelError, match="dtype 'float8'"):
        LanguageModel.load(tmp_path, layer=1, dtype="float8")
    with pytest.raises(ModelError, match="does not run on device 'gpu'"):
        LanguageModel.load(tmp_path, layer=1, device="gpu")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        LanguageModel.load(tmp_path, layer=1)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match="cannot be read"):
        LanguageModel.load(tmp_path, layer=1)


def test_weights_that_are_missing_are_never_made_up(tmp_path: Path):
    llama().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"], weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lack model\.layers\.0\.mlp\.up_proj\.weight and 1 more, which LlamaFor"):
        LanguageModel.load(tmp_path, layer=LAYER)


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"no CUDA device here: set model\.device=cpu"):
        LanguageModel.load(tmp_path, layer=1, device="cuda")


def test_another_architecture_names_what_is_missing():
    sizes = {"num_hidden_layers": 1, "hidden_size": 8, "vocab_size": 11}
    bert = BertConfig(**sizes, num_attention_heads=2, intermediate_size=16, is_decoder=True)
    with pytest.raises(ModelError, match="BertLMHeadModel has no list of layers in its core: only decoder-only models"):
        LanguageModel(BertLMHeadModel(bert), layer=0)
    with pytest.raises(ModelError, match="a layer of MambaForCausalLM has no attention"):
        LanguageModel(MambaForCausalLM(MambaConfig(**sizes, state_size=4)), layer=0)
    whisper = GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=11, add_cross_attention=True)
    with pytest.raises(ModelError, match="a layer of GPT2LMHeadModel has several attentions"):
        LanguageModel(GPT2LMHeadModel(whisper), layer=0)


def test_a_model_that_scales_its_embeddings():
    torch.manual_seed(0)
    config = GraniteConfig(**SIZES, num_attention_heads=4, num_key_value_heads=2, embedding_multiplier=12.0)
    plain = GraniteForCausalLM(config).eval()
    model = LanguageModel(plain, layer=LAYER)
    torch.testing.assert_close(model.logits_from(model.residuals(padded())), plain(padded()).logits)


def test_the_road_says_why_it_is_not_the_fast_one():
    assert "it is for bfloat16 on a CPU" in LanguageModel(llama(), layer=1).implementation
    assert "it was not asked for" in LanguageModel(llama(), layer=1, fused=False).implementation
    if fused.fusing_obstacle(llama().bfloat16().model) is None:
        assert "this is Qwen2DecoderLayer" in LanguageModel(qwen().bfloat16(), layer=1).implementation


@pytest.mark.parametrize(("heads", "keys", "options"), [(6, 2, {}), (4, 4, {}), (6, 1, {}), (2, 1, {"head_dim": 32})])
@pytest.mark.parametrize("length", [1, 7, 33])
def test_the_fused_layers_are_as_exact_as_the_plain_ones(heads, keys, options, length, monkeypatch):
    """In bfloat16, by their error against float32; blocks of queries smaller than the sequence."""
    monkeypatch.setattr(fused, "SHORT_BLOCK", 16)
    exact = llama(heads, keys, **options)
    for parameter in exact.parameters():
        parameter.data = parameter.data.bfloat16().float()
    tokens_BL = torch.randint(0, 97, (5, length), generator=torch.Generator().manual_seed(2))
    expected = LanguageModel(exact, layer=LAYER).residuals(tokens_BL)
    rounded = llama(heads, keys, **options).bfloat16()
    if (reason := fused.fusing_obstacle(rounded.model)) is not None:
        pytest.skip(reason)
    model = LanguageModel(rounded, layer=LAYER)
    assert model.implementation == "fused layers"
    ours, plain = model.residuals(tokens_BL), LanguageModel(rounded, layer=LAYER, fused=False).residuals(tokens_BL)
    assert error(ours, expected) < 1.2 * error(plain, expected) + 1e-4
    assert error(ours, expected) < 0.02


@pytest.mark.parametrize("length", [1, 7, 33])
def test_the_fused_later_layers_are_as_exact_as_the_plain_ones(length, monkeypatch):
    """From a stream that is exact in bfloat16, which stays as it was."""
    monkeypatch.setattr(fused, "SHORT_BLOCK", 16)
    exact = llama(6, 2)
    for parameter in exact.parameters():
        parameter.data = parameter.data.bfloat16().float()
    x_BLD = torch.randn(3, length, exact.config.hidden_size, generator=torch.Generator().manual_seed(2)).bfloat16()
    given_BLD = x_BLD.clone()
    expected = LanguageModel(exact, layer=LAYER).hidden_from(x_BLD.float())
    rounded = llama(6, 2).bfloat16()
    if (reason := fused.fusing_obstacle(rounded.model)) is not None:
        pytest.skip(reason)
    ours, plain = (
        LanguageModel(rounded, layer=LAYER, fused=with_fused).hidden_from(x_BLD) for with_fused in (True, False)
    )
    assert torch.equal(x_BLD, given_BLD)
    assert (ours != plain).any() or length == 1
    assert error(ours, expected) < 1.2 * error(plain, expected) + 1e-4
    assert error(ours, expected) < 0.02


def error(x_BLD: torch.Tensor, expected_BLD: torch.Tensor) -> float:
    return float((x_BLD.float() - expected_BLD).norm() / expected_BLD.norm())


def test_attention_by_blocks_is_attention(monkeypatch):
    monkeypatch.setattr(fused, "SHORT_BLOCK", 4)
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 11, 6, 8), torch.randn(2, 11, 3, 8), torch.randn(2, 11, 3, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), is_causal=True, scale=1.0, enable_gqa=True
    )
    torch.testing.assert_close(fused.attend(query, key, value), expected.transpose(1, 2))
