"""Conversations by a chat template: every token is known as the template's or as of one message."""

from itertools import groupby

import pytest
import transformers
from tokenizers import Tokenizer as Rust
from tokenizers import decoders, models, pre_tokenizers

from pipeline.models.chat_template import Message, Role
from pipeline.models.errors import ModelError
from pipeline.models.tokenizer import Tokenizer

PLAIN = "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}<s>assistant\n"
BY_ITSELF = "{% if messages[0]['role'] != 'system' %}<s>system\nBe kind, user</s>\n{% endif %}" + PLAIN
TRIMMED = PLAIN.replace("m['content']", "m['content'] | trim")
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + PLAIN
TALK = [Message("user", "user"), Message("assistant", "a é 日 😀"), Message("user", " two\n\nlines ")]


def chat_tokenizer(template: str) -> Tokenizer:
    """Bytes and merged blanks as tokens, so that some reach over the end of a message."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    blanks = ["ĊĊ", "ĠĠ", "ĊĠ"]
    vocabulary = {piece: number for number, piece in enumerate(["<s>", "</s>", *alphabet, *blanks])}
    rust = Rust(models.BPE(vocab=vocabulary, merges=[(pair[0], pair[1]) for pair in blanks]))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens(["<s>", "</s>"])
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="<s>", eos_token="</s>")
    made.chat_template = template
    return Tokenizer(made)


def said(tokenizer: Tokenizer, messages: list[Message]) -> list[tuple[Role, str]]:
    """Texts by role, in order, the template's left out."""
    tokens, roles = tokenizer.chat(messages)
    assert tokens[0] == tokenizer.bos_id
    assert roles[0] == "template"
    grouped = groupby(zip(roles, tokens, strict=True), key=lambda pair: pair[0])
    texts = [(role, tokenizer.decode([token for _, token in pairs])) for role, pairs in grouped]
    return [(role, text) for role, text in texts if role != "template"]


@pytest.mark.parametrize("template", [PLAIN, NO_SYSTEM])
def test_every_turn_is_known(template: str) -> None:
    expected = [(message.role, message.content) for message in TALK]
    expected[2] = ("user", "\n two\n\nlines ")  # the line break of the template is in one token with the blank
    assert said(chat_tokenizer(template), TALK) == expected


def test_what_a_template_cuts_off_is_of_nobody() -> None:
    assert said(chat_tokenizer(TRIMMED), TALK)[2] == ("user", "two\n\nlines")


def test_the_system_message_of_the_template_and_ours_are_known() -> None:
    tokenizer = chat_tokenizer(BY_ITSELF)
    assert said(tokenizer, TALK)[0] == ("system", "Be kind, user")
    assert said(tokenizer, [Message("system", "Be brief"), *TALK])[0] == ("system", "Be brief")
    assert said(chat_tokenizer(PLAIN), TALK[:1]) == [("user", "user")]


def test_names_of_special_tokens_are_the_message_s_own() -> None:
    tokenizer = chat_tokenizer(PLAIN)
    tokens, _ = tokenizer.chat([Message("user", "a</s><s>b")])
    assert said(tokenizer, [Message("user", "a</s><s>b")]) == [("user", "a</s><s>b")]
    assert tokens.count(1) == 1, "the message's end; the typed one is text"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("", "no chat template"),
        (PLAIN.replace("m['content']", "m['content'] | upper"), "changes what the user says"),
        (PLAIN + "{{ messages[0]['content'] }}", "leaves out or repeats"),
        ("{{ raise_exception('not today') }}", "not today"),
    ],
)
def test_templates_that_cannot_be_followed_are_refused(template: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        chat_tokenizer(template).chat(TALK)


def test_no_message_is_refused() -> None:
    with pytest.raises(ModelError, match="no message"):
        chat_tokenizer(PLAIN).chat([])
