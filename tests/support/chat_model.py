"""A tiny random chat model with a byte-level tokenizer, as a folder."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def make_chat_model(folder: Path, *, always: str = "", context: int = 4096, llama: bool = True) -> Path:
    """Save it; returns the folder. always: a character that it writes whatever it is told, being a Llama; llama: what
    it is, or a GPT-NeoX."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*always, "<s>", "</s>", *(piece for piece in alphabet if piece != always)]
    tokenizer = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = {
        "vocab_size": len(names), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": context, "initializer_range": 0.3,
        "bos_token_id": names.index("<s>"), "eos_token_id": names.index("</s>"), "pad_token_id": names.index("</s>"),
    }  # fmt: skip
    if not llama:
        GPTNeoXForCausalLM(GPTNeoXConfig(**config)).save_pretrained(folder)
        return folder
    model = LlamaForCausalLM(LlamaConfig(**config, num_key_value_heads=2))
    if always:
        with torch.no_grad():
            model.model.norm.weight.zero_()  # all logits are equal, and the first token wins
    model.save_pretrained(folder)
    return folder
