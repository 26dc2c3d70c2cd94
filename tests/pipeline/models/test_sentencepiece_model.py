"""A `tokenizer.model` alone, against sentencepiece itself, whatever class the model is of."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers

from pipeline.models.chat_template import Message
from pipeline.models.errors import ModelError
from pipeline.models.tokenizer import Tokenizer

WORDS = ["the", "river", "storm", "king", "of", "bad", "weather", "ran", "over", "hills", "houses", "1934,", "don't"]
TEXTS = ["the king  of\n storms", " a river ran", "é 日本 🦊", "1934, the", "don't", "", "▁ x", "over the hills "]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    transformers.LlamaConfig().save_pretrained(tmp_path)
    return tmp_path


def train(folder: Path, **options: Any) -> sentencepiece.SentencePieceProcessor:
    rng, texts = random.Random(0), folder / "texts"
    texts.write_text("\n".join(" ".join(rng.choice(WORDS) for _ in range(12)) for _ in range(300)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts),
        model_prefix=str(folder / "tokenizer"),
        hard_vocab_limit=False,
        minloglevel=2,
        **{"vocab_size": 330, "normalization_rule_name": "identity", "remove_extra_whitespaces": False, **options},
    )
    return sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize(
    "options",
    [
        {"byte_fallback": True},
        {"byte_fallback": False, "vocab_size": 60},
        {"byte_fallback": True, "add_dummy_prefix": False},
        {"byte_fallback": True, "remove_extra_whitespaces": True, "normalization_rule_name": "nmt_nfkc"},
    ],
    ids=["byte fallback", "none", "no blank in front", "normalised"],
)
@pytest.mark.parametrize("config", [transformers.LlamaConfig, transformers.GPT2Config])
def test_tokens_are_those_of_sentencepiece(kind: str, options: dict[str, Any], config: type, tmp_path: Path) -> None:
    config().save_pretrained(tmp_path)
    reference = train(tmp_path, model_type=kind, **options)
    tokenizer = Tokenizer.load(tmp_path)
    for text in TEXTS:
        assert tokenizer.encode(text) == reference.encode(text), text
    assert (tokenizer.bos_id, tokenizer.vocab_size) == (1, reference.vocab_size())
    if options == {"byte_fallback": True}:
        table = tokenizer.token_bytes()
        assert b"".join(table[token] for token in tokenizer.encode("é 日本\n x")) == " é 日本\n x".encode()


def test_names_and_further_tokens_are_those_of_the_configuration(folder: Path) -> None:
    reference = train(folder, model_type="bpe", byte_fallback=True)
    size = reference.vocab_size()
    settings = {
        "bos_token": None,
        "eos_token": {"content": "<|end|>"},
        "added_tokens_decoder": {str(size): {"content": "<|end|>", "special": True}},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}")
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.bos_id is None
    assert tokenizer.chat([Message("user", "the king")]).tokens[-1] == size
    assert size not in tokenizer.encode("<|end|>"), "what is typed is text"
    settings["added_tokens_decoder"] = {str(size + 5): {"content": "<|end|>", "special": True}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=rf"names <\|end\|> as token {size + 5}, which it cannot be"):
        Tokenizer.load(folder)


def test_another_file_of_that_name_is_refused(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    with pytest.raises(ModelError, match=r"tokenizer\.model is no sentencepiece model"):
        Tokenizer.load(folder)
