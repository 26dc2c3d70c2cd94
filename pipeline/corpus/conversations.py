"""Conversations of a corpus: the messages of a record, in the forms that data sets have.

{"messages": [{"role": "user", "content": "..."}, ...]}       `conversations` and `conversation` are read, too
{"conversations": [{"from": "human", "value": "..."}, ...]}   human is the user, gpt the assistant

A content is a text, or a list of parts {"type": "text", "text": "..."}. Beside `tool_calls` it may be empty.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data.errors import CorpusError
from pipeline.models.chat_template import Message, Speaker
from pipeline.recipe import CorpusConfig

CONVERSATIONS = ("messages", "conversations", "conversation")
"""Fields by which chat data is known."""
FORMS = (("role", "content"), ("from", "value"))
"""Fields of a message that say whose it is, and what it says."""
SPEAKERS: dict[str, Speaker] = {
    "system": "system", "developer": "developer", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant", "tool": "tool",
    "function": "tool", "ipython": "tool", "observation": "tool",
}  # fmt: skip
"""Roles by what data sets call them."""
BESIDE = ("tool_calls", "tool_call_id", "name")
"""Other fields of a message that templates read."""
TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of parts that are text."""


class Chat(NamedTuple):
    """A conversation, as it stands in a corpus."""

    messages: tuple[Message, ...]
    problem: str = ""
    """What is wrong with it, so that it cannot be read; "" for nothing."""


class Fields(NamedTuple):
    """The fields of a record that are read."""

    names: tuple[str, ...]
    """The first that is there holds the text, or the messages."""
    has_chats: bool

    @classmethod
    def of(cls, config: CorpusConfig) -> "Fields":
        """Those that a recipe asks for."""
        if config.turns is None:
            return cls((config.text_field,), False)
        is_usual = config.text_field == CorpusConfig.model_fields["text_field"].default
        return cls(CONVERSATIONS if is_usual else (config.text_field,), True)

    def among(self, names: Mapping[str, Any]) -> str | None:
        """The one of them that a record has; None for none."""
        return next((name for name in self.names if name in names), None)


def take_chat(record: Mapping[str, Any], fields: Fields, where: str) -> tuple[Chat, dict[str, Any]]:
    """The conversation of a record, and its other fields. Raises CorpusError where there is no field of messages."""
    field = fields.among(record)
    if field is None:
        there = ", ".join(f"'{name}'" for name in record) or "no field"
        wanted = " nor ".join(f"'{name}'" for name in fields.names)
        raise CorpusError(
            f"{where} has no {wanted}, only {there}: set corpus.text_field to the field with messages, or leave "
            "corpus.turns out to read plain text"
        )
    return _chat(record[field], field), {name: value for name, value in record.items() if name != field}


def _chat(messages: Any, field: str) -> Chat:
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return Chat((), f"'{field}' is {type(messages).__name__}, not a list of messages")
    if not messages:
        return Chat((), f"'{field}' is empty")
    found: list[Message] = []
    for number, one in enumerate(messages, 1):
        message = _message(one)
        if isinstance(message, str):
            return Chat(tuple(found), f"message {number} {message}")
        found.append(message)
    return Chat(tuple(found))


def _message(one: Any) -> Message | str:
    """A message, or what is wrong with it."""
    if not isinstance(one, Mapping):
        return f"is {type(one).__name__}, not an object with role and content"
    form = next(((role, content) for role, content in FORMS if one.get(role) is not None), None)
    if form is None:
        return f"has no role (it has {', '.join(one) or 'nothing'})"
    role, content = str(one[form[0]]), one.get(form[1])
    speaker = SPEAKERS.get(role.lower())
    if speaker is None:
        return f"has the role '{role}', none of {', '.join(dict.fromkeys(SPEAKERS.values()))}"
    more = {name: one[name] for name in BESIDE if one.get(name)}
    if content is None and more.get("tool_calls"):
        content = ""
    if isinstance(content, str):
        return Message(speaker, _lines(content), more)
    if not isinstance(content, Sequence):
        return f"has no text ('{form[1]}' is {type(content).__name__})"
    texts: list[str] = []
    for number, part in enumerate(content, 1):
        text, problem = _text_of(part)
        if problem:
            return f"{problem} (part {number} of '{form[1]}')"
        texts.append(_lines(text))
    return Message(speaker, tuple(texts), more) if texts else f"has no text ('{form[1]}' is an empty list)"


def _text_of(part: Any) -> tuple[str, str]:
    """The text of a part of a content, and what is wrong with it; "" for nothing."""
    if isinstance(part, str):
        return part, ""
    if not isinstance(part, Mapping):
        return "", f"has a part that is {type(part).__name__}, not a text"
    kind = part.get("type") or "text"
    if kind not in TEXT_PARTS:
        return "", f"has a part of the type '{kind}', and only text can be read"
    text = part.get("text")
    return (text, "") if isinstance(text, str) else ("", "has a part without text")


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")
