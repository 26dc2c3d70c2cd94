"""Tiny random models and SAEs, made on the spot."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE, Nonlinearity, SAEHeader
from pipeline.models.steering import Clamp

WIDTH = 32
CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


def tiny_llama(vocab_size: int = 300, seed: int = 0) -> LlamaForCausalLM:
    """Three layers, four heads of queries on two of keys; its weights are large, so that layers matter."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=256,
        eos_token_id=257,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


def tiny_language_model(layer: int = 1, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """The same, cut at a layer."""
    return LanguageModel(tiny_llama().to(dtype), layer=layer)


def model_that_cannot_be_steered() -> LanguageModel:
    """A tiny Qwen2 with a rotary embedding that depends on a text's length."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=300, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
    )  # fmt: skip
    return LanguageModel(Qwen2ForCausalLM(config), layer=1)


def tiny_sae(
    num_features: int = 24,
    *,
    nonlinearity: Nonlinearity = "relu",
    seed: int = 0,
    name: str | None = None,
    k: int = 4,
    width: int = WIDTH,
) -> SAE:
    """Random directions of norm 1, half of whose features are active on a random input."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(num_features, width, generator=generator)
    header = SAEHeader(
        name=name or f"1-{nonlinearity}-{num_features}",
        architecture=nonlinearity,
        nonlinearity=nonlinearity,
        num_features=num_features,
        width=width,
        model="tiny",
        layer=1,
        k=k if nonlinearity == "topk" else None,
    )
    threshold = torch.full((num_features,), 0.5 if nonlinearity == "jumprelu" else 0.0)
    return SAE(
        header,
        torch.randn(num_features, width, generator=generator),
        0.1 * torch.randn(num_features, generator=generator),
        vectors / vectors.norm(dim=1, keepdim=True),
        torch.zeros(width),
        threshold,
    )


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token (0 to 255 by its place in the byte alphabet), then BOS 256 and EOS 257."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_tiny_model(folder: Path) -> None:
    """A model folder as `fetch` leaves it, weights in float32."""
    tiny_llama().save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)


def reference_logits(
    tokens: Sequence[int], clamps: Sequence[Clamp], sink_norm: float, seen: list[Tensor], start: int = 1
) -> Tensor:
    """Logits [L, V] of transformers with the formula written out at every position from `start`, one by one."""
    language_model = tiny_language_model()

    def hook(module: object, inputs: object, output: Tensor) -> Tensor:
        seen.append(output)
        changed = output.clone()
        for position in range(max(start, 1), output.shape[1]):
            x = output[0, position]
            if x.norm() > sink_norm:
                continue
            for clamp in clamps:
                if clamp.value is None:
                    continue
                f = clamp.sae.encode(x[None])[0, clamp.feature]
                change = {"clamp": clamp.value - f, "add": clamp.value, "ablate": -f}[clamp.mode]
                changed[0, position] += change * clamp.sae.W_dec_FD[clamp.feature]
        return changed

    handle = language_model.layers[1].register_forward_hook(hook)
    with torch.no_grad():
        logits = language_model.model(input_ids=torch.tensor([list(tokens)]), use_cache=False).logits[0]
    handle.remove()
    return logits
