"""Texts that are filled templates: every token as if the template had been filled with the messages themselves."""

import pytest
import transformers
from tokenizers import Tokenizer as Rust
from tokenizers import decoders, models, pre_tokenizers

from pipeline.models.chat_template import Message
from pipeline.models.tokenizer import Tokenizer

NAMES = ["<|bos|>", "<|start|>", "<|end|>", "<|other|>"]
ANSWER = "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
TURNS = "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}" + ANSWER
KIND = "{% if messages[0].role != 'system' %}<|start|>system\nBe kind<|end|>\n{% endif %}" + TURNS
OPENED = "<|bos|>" + TURNS
HEADERS = OPENED.replace("{{ m.role }}\n", "{{ m.role }}<|end|>\n\n")
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}" + OPENED
TALKS = [
    [Message("user", "Hi")],
    [Message("user", "one\n\ntwo"), Message("assistant", "3, é"), Message("user", "user"), Message("assistant", "5")],
    [Message("system", "Be brief"), Message("user", "Hi"), Message("assistant", "Ho")],
    [Message("user", "4"), Message("assistant", "?"), Message("tool", "{}"), Message("assistant", "!")],
]


def tokenizer_of(template: str, bos: str | None = "<|bos|>") -> Tokenizer:
    """Bytes as tokens, and four special ones."""
    pieces = [*NAMES, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    rust = Rust(models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[]))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens(NAMES)
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=rust, bos_token=bos)
    made.chat_template = template
    return Tokenizer(made)


@pytest.mark.parametrize("template", [TURNS, KIND, OPENED, HEADERS, NO_SYSTEM])
@pytest.mark.parametrize("bos", ["<|bos|>", "<|start|>", None])
@pytest.mark.parametrize("talk", TALKS, ids=["one", "four", "system", "tool"])
def test_a_filled_template_is_the_conversation_that_filled_it(
    template: str, bos: str | None, talk: list[Message]
) -> None:
    if template == NO_SYSTEM and talk[0].role == "system":
        return
    tokenizer = tokenizer_of(template, bos)
    for answered in (True, False):
        filled = tokenizer._pretrained.apply_chat_template(
            [{"role": one.role, "content": one.content} for one in talk],
            tokenize=False,
            add_generation_prompt=not answered,
        )
        assert tokenizer.is_filled(filled)
        found = tokenizer.read_filled(filled)
        expected = tokenizer._by_template(talk, answered=answered)
        assert found.tokens == expected.tokens
        if answered:
            assert found.roles == expected.roles
        else:  # of a new answer, the template's own system message is the system's
            own = ["template" if role == "system" and talk[0].role != "system" else role for role in expected.roles]
            assert found.roles == own


def test_parts_of_a_filled_template_are_known() -> None:
    tokenizer = tokenizer_of(HEADERS)
    text = "<|start|>user<|end|>\n\nHi<|end|>\n and <|other|>more"
    found = tokenizer.read_filled(text)
    own = [token for token, role in zip(found.tokens, found.roles, strict=True) if role != "template"]
    assert tokenizer.decode(own) == "Hi and more"
    assert tokenizer.decode(found.tokens) == "<|bos|>" + text


def test_other_texts_are_not_filled_templates() -> None:
    tokenizer = tokenizer_of(TURNS)
    assert not tokenizer.is_filled("Hi <b>there</b> user\n")
    assert not tokenizer.is_filled("Hi <|other|>"), "the template never writes it"
    tokenizer._pretrained.chat_template = None
    assert not tokenizer_of("").is_filled("<|start|>user\nHi<|end|>\n")
