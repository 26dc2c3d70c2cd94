"""Small random models of the architectures that are read, as transformers makes them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    OlmoConfig,
    Phi3Config,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
)

SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 4,
    "max_position_embeddings": 64,
}
LAYER = 2


def llama(heads: int = 6, keys: int = 2, **options) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_attention_heads=heads, num_key_value_heads=keys, **options)).eval()


def qwen() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    sliding = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2}
    return Qwen2ForCausalLM(Qwen2Config(**SIZES, num_attention_heads=6, num_key_value_heads=3, **sliding)).eval()


def mistral() -> MistralForCausalLM:
    torch.manual_seed(0)
    return MistralForCausalLM(
        MistralConfig(**SIZES, num_attention_heads=4, num_key_value_heads=2, sliding_window=5)
    ).eval()


MODELS = {
    "llama": llama,
    "llama without grouped queries": lambda: llama(4, 4),
    "llama with one key head": lambda: llama(6, 1),
    "llama with wide heads": lambda: llama(2, 1, head_dim=32),
    "qwen2 with sliding layers": qwen,
    "mistral with a sliding window": mistral,
}


# ---- Every class, with the names of its parts written out, and hooks on them as anybody would put them


@dataclass(frozen=True)
class Kind:
    """An architecture, and where its layers add to the residual stream."""

    make: Callable[[], Any]
    layers: str = "model.layers"
    attention: str = "self_attn"
    mlp: str = "mlp"
    parallel: bool = False

    @property
    def hooks(self) -> list[str]:
        return [hook for hook in HOOKS if not (self.parallel and hook == "resid_mid")]


HOOKS = ["resid_pre", "resid_mid", "resid_post", "attn", "mlp"]
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.1] * 6, "long_factor": [3.0] * 6,
    "original_max_position_embeddings": 32,
}  # fmt: skip
WINDOWS = {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"] * 2}
GPT2_SIZES = {"vocab_size": 97, "n_embd": 48, "n_layer": 4, "n_head": 4, "n_positions": 64}


def _made(config: type, sizes: dict[str, Any] = SIZES, **options: Any) -> Callable[[], Any]:
    """A model whose weights are large, so that layers matter."""

    def make() -> Any:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config(**sizes, **ENDS, initializer_range=0.2, **options))
        for parameter in model.parameters():  # norms and biases that leave things as they are prove nothing
            if parameter.dim() == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
        return model.eval()

    return make


TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
gpt2 = partial(Kind, layers="transformer.h", attention="attn")
pythia = partial(Kind, layers="gpt_neox.layers", attention="attention")
normed = partial(Kind, attention="post_attention_layernorm", mlp="post_feedforward_layernorm")
KINDS: dict[str, Kind] = {
    "llama": Kind(_made(LlamaConfig, **GROUPED, **UNTIED)),
    "llama3 rope": Kind(_made(LlamaConfig, **GROUPED, **TIED, rope_parameters=LLAMA3)),
    "mistral": Kind(_made(MistralConfig, **GROUPED, sliding_window=5)),
    "qwen2": Kind(_made(Qwen2Config, num_attention_heads=6, num_key_value_heads=3, rope_parameters=YARN)),
    "qwen3": Kind(_made(Qwen3Config, **GROUPED, **TIED)),
    "gemma2": normed(
        _made(Gemma2Config, **GROUPED, **WINDOWS, final_logit_softcapping=3.0, attn_logit_softcapping=5.0)
    ),
    "gemma3": normed(_made(Gemma3TextConfig, **GROUPED, **WINDOWS)),
    "phi3": Kind(_made(Phi3Config, num_attention_heads=4, num_key_value_heads=2)),
    "phi3 long": Kind(_made(Phi3Config, num_attention_heads=4, num_key_value_heads=2, rope_parameters=LONGROPE)),
    "olmo": Kind(_made(OlmoConfig, num_attention_heads=4, num_key_value_heads=2)),
    "olmo2": normed(_made(Olmo2Config, num_attention_heads=4, num_key_value_heads=2)),
    "gpt2": gpt2(_made(GPT2Config, GPT2_SIZES)),
    "gpt2 untied": gpt2(_made(GPT2Config, GPT2_SIZES, **UNTIED)),
    "pythia": pythia(_made(GPTNeoXConfig, num_attention_heads=6), parallel=True),
    "neox one after the other": pythia(
        _made(GPTNeoXConfig, num_attention_heads=6, use_parallel_residual=False, **TIED)
    ),
}
Change = Callable[[Tensor], Tensor]


@contextmanager
def hooked(kind: Kind, model: Any, layer: int, hook: str, change: Change) -> Iterator[None]:
    """A plain model of transformers whose activations at a hook are changed while the block runs."""
    block = model.get_submodule(kind.layers)[layer]
    before: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        before[:] = [args[0]]

    def changed(module: nn.Module, args: object, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        new = change(before[0] + first) - before[0] if hook == "resid_mid" else change(first)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    part = {"attn": kind.attention, "resid_mid": kind.attention, "mlp": kind.mlp}.get(hook)
    target = block if part is None else block.get_submodule(part)
    handles = [block.register_forward_pre_hook(keep)]
    if hook == "resid_pre":
        handles.append(block.register_forward_pre_hook(lambda module, args: (change(args[0]), *args[1:])))
    else:
        handles.append(target.register_forward_hook(changed))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def seen_at(kind: Kind, model: Any, layer: int, hook: str, tokens_BL: Tensor) -> Tensor:
    """The activations at a hook [B, L, D]."""
    seen: list[Tensor] = []

    def look(x_BLD: Tensor) -> Tensor:
        seen.append(x_BLD)
        return x_BLD

    with hooked(kind, model, layer, hook, look):
        model(tokens_BL)
    return seen[0]
