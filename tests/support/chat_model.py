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


LLAMA_2 = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
"""Of models that take no system message and write a blank before an answer."""
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
THINKING = (
    "{% for message in messages %}<s>{{ message['role'] }}\n"
    "{% if loop.last and message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message['content'] }}</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
"""Of models that think first, and whose thoughts are over before an answer that is shown."""


def make_chat_model(
    folder: Path, *, always: str = "", context: int = 4096, llama: bool = True, template: str = TEMPLATE,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> Path:  # fmt: skip
    """Save it; returns the folder. always: a character that it writes whatever it is told, being a Llama; llama: what
    it is, or a GPT-NeoX; tokenizer: another one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*always, "<s>", "</s>", *(piece for piece in alphabet if piece != always)]
    backend = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    fast = tokenizer or PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = {
        "vocab_size": max(len(names), len(fast)), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
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
