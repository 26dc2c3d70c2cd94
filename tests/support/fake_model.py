"""The language model of the fake run: a tiny random Llama, whose tokens are hostile on purpose."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WIDTH = 32
WORDS = [" the", " of", " and", " in", " a", " river", " University", " Oxford", " war", " music", " engine", " was"]
HOSTILE = [
    "<script>alert(1)</script>", " <img src=x onerror=alert(2)>", "\"onmouseover=\"alert(3)", "</textarea>", "&amp;",
    "{{7*7}}", "{% raw %}", "'; DROP TABLE features; --", "\r\n", "\n\n", "\t\t", "\x00", "\x1b[31m", "\u202eedoc",
    "\u200f", "שלום", " café", "日本", "a" * 40, "%s%n", "../../etc/passwd",
]  # fmt: skip
EMOJI = "😀".encode()


def make_model(folder: Path, seed: int) -> list[bytes]:
    """Save a tiny random Llama with a byte-level tokenizer; returns the bytes of its tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    to_piece = decoders_of_bytes()
    texts = [text.encode() for text in [*WORDS, *HOSTILE]] + [EMOJI[:2], EMOJI[2:]]
    pieces = ["".join(to_piece[byte] for byte in text) for text in texts]
    names = list(dict.fromkeys(["<s>", "</s>", *alphabet, *pieces]))
    tokenizer = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(names), hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=0, eos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    from_piece = {piece: byte for byte, piece in to_piece.items()}
    return [name.encode() if name in ("<s>", "</s>") else bytes(from_piece[c] for c in name) for name in names]


def decoders_of_bytes() -> dict[int, str]:
    """The character by which byte-level BPE names each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}
