"""A tiny random sentence encoder, as a folder that is read like a real one."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

WIDTH = 24
WORDS = ["bad", "weather", "storm", "the", "river", "king", "of", "##s", *"abcdefghijklmnopqrstuvwxyz"]


def make_encoder(folder: Path, seed: int = 0, **config: object) -> Path:
    """Save an encoder of two layers, whose tokenizer pads and cuts as the real one's does; returns its folder."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(128)
    torch.manual_seed(seed)
    small = {
        "vocab_size": len(names), "hidden_size": WIDTH, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 3, "max_position_embeddings": 300, "initializer_range": 0.5,
    }  # fmt: skip
    BertModel(BertConfig(**{**small, **config})).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
