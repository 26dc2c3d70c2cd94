"""Small random models of the architectures that are read, as transformers makes them."""

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
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
