"""Conversations by a chat template: every token is known as the template's or as of one message."""

from itertools import groupby

import pytest
import transformers
from tokenizers import Tokenizer as Rust
from tokenizers import decoders, models, pre_tokenizers

from pipeline.models.chat_template import Message, Role, Speaker
from pipeline.models.errors import ModelError
from pipeline.models.tokenizer import Tokenizer

PLAIN = "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}<s>assistant\n"
BY_ITSELF = "{% if messages[0]['role'] != 'system' %}<s>system\nBe kind, user</s>\n{% endif %}" + PLAIN
TRIMMED = PLAIN.replace("m['content']", "m['content'] | trim")
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + PLAIN
PARTS = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{% for p in m['content'] %}"
    "{% if p['type'] == 'text' %}{{ p['text'] }}{% endif %}{% endfor %}</s>\n{% endfor %}<s>assistant\n"
)
BOTH = PARTS.replace("{% for p in", "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in").replace(
    "{% endif %}{% endfor %}</s>", "{% endif %}{% endfor %}{% endif %}</s>"
)
TOOLS = PLAIN.replace(
    "{{ m['content'] }}",
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% elif m.role == 'tool' %}{{ m['content'] | tojson }}"
    "{% else %}{{ m['content'] }}{% endif %}",
)
ALTERNATING = (
    "{% set turns = namespace(n=0) %}{% for m in messages %}"
    "{% if m.role != 'tool' and not (m.tool_calls is defined and m.tool_calls is not none) %}"
    "{% if (m.role == 'user') != (turns.n % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% set turns.n = turns.n + 1 %}{% endif %}{% endfor %}" + TOOLS
)
"""In which calls of tools are no turns, as Mistral's."""
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
    ("template", "shown"),
    [(PLAIN, ["one two"]), (PARTS, ["one", "two"]), (BOTH, ["one", "two"])],
    ids=["texts alone", "parts alone", "both"],
)
def test_parts_reach_the_template_as_it_takes_them(template: str, shown: list[str]) -> None:
    tokenizer = chat_tokenizer(template)
    parts, text = Message("user", ("one", "two")), Message("user", "plain text")
    tokens, roles = tokenizer.chat([parts])
    own = tokenizer.decode([token for token, role in zip(tokens, roles, strict=True) if role == "user"])
    assert own == "".join(shown)
    assert said(tokenizer, [text, Message("assistant", ("a", "b")), text])[::2] == [("user", "plain text")] * 2
    assert tokenizer.chat([text]).tokens == chat_tokenizer(PLAIN).chat([text]).tokens


@pytest.mark.parametrize("role", ["developer", "tool"])
def test_every_role_that_a_template_renders_is_a_role_of_its_own(role: Speaker) -> None:
    found = said(chat_tokenizer(PLAIN), [*TALK[:2], Message(role, "4 <s>"), *TALK[2:]])
    assert found[:3] == [("user", "user"), ("assistant", "a é 日 😀"), (role, "4 <s>")]
    known = "{% for m in messages %}{% if m.role in ('user', 'assistant') %}<s>{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(ModelError, match=f"leaves out or repeats a message \\(of the role '{role}', perhaps"):
        chat_tokenizer(known).chat([*TALK[:2], Message(role, "4"), *TALK[2:]])


def test_calls_of_tools_are_the_template_s_and_their_answers_the_tool_s() -> None:
    call = {"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": "é"}}}]}
    talk = [TALK[0], Message("assistant", "", call), Message("tool", '{"sum": "4"}\n'), Message("assistant", "4")]
    tokenizer = chat_tokenizer(TOOLS)
    answer = r"{\"sum\": \"4\"}\n"
    assert said(tokenizer, talk) == [("user", "user"), ("tool", answer), ("assistant", "4")]
    assert '"arguments": {"a": "é"}' in tokenizer.decode(tokenizer.chat(talk).tokens)
    with pytest.raises(ModelError, match="leaves out the calls of tools"):
        chat_tokenizer(PLAIN).chat(talk)
    talk[1] = Message("assistant", "", {"tool_calls": [{"function": {"name": "</s>"}}]})
    with pytest.raises(ModelError, match="a message of the assistant has '</s>' in its tool_calls"):
        tokenizer.chat(talk)


def test_calls_of_tools_stand_where_a_template_refuses_the_messages_without_them() -> None:
    call = {"tool_calls": [{"function": {"name": "add", "arguments": {}}}]}
    talk = [TALK[0], Message("assistant", "", call), Message("tool", "4"), Message("assistant", "four")]
    tokenizer = chat_tokenizer(ALTERNATING)
    assert said(tokenizer, talk) == [("user", "user"), ("tool", "4"), ("assistant", "four")]
    assert '"name": "add"' in tokenizer.decode(tokenizer.chat(talk).tokens)
    with pytest.raises(ModelError, match="refuses these messages: roles must alternate"):
        tokenizer.chat([talk[0], Message("assistant", "a"), talk[2], talk[3]])


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
