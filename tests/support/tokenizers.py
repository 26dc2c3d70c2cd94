"""Small tokenizers as they are met: one that marks spaces and puts one before every text, as sentencepiece does."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from data.layout import StorePaths
from tests.support.stores import store_with_own_model

SPACE = "▁"


def metaspace_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are some words (a space is written ▁), then every byte. It doubles a leading space."""
    pieces = ["<s>", "</s>", *dict.fromkeys([SPACE, *words])]
    scored = [(piece, 0.0 if piece.startswith("<") else -1.0) for piece in pieces]
    scored += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    backend = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def with_tokenizer(store: StorePaths, folder: Path, tokenizer: PreTrainedTokenizerFast) -> StorePaths:
    """The store of the fake run with another tokenizer for its model, and a database of its own."""
    made = store_with_own_model(store, folder / "store")
    target = made.models / "tiny"
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (target / name).unlink(missing_ok=True)
    tokenizer.save_pretrained(target)
    size = json.loads((target / "config.json").read_text())["vocab_size"]
    assert len(tokenizer) <= size, f"the model knows {size} tokens, the tokenizer has {len(tokenizer)}"
    return made
