"""Conversations of a corpus: the messages of a record, in the forms that data sets have.

{"messages": [{"role": "user", "content": "..."}, ...]}       `conversations` and `conversation` are read, too
{"conversations": [{"from": "human", "value": "..."}, ...]}   human is the user, gpt the assistant
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from data.errors import CorpusError
from pipeline.models.chat_template import Message
from pipeline.recipe import CorpusConfig

CONVERSATIONS = ("messages", "conversations", "conversation")
"""Fields by which chat data is known."""
FORMS = (("role", "content"), ("from", "value"))
"""Fields of a message that say whose it is, and what it says."""
Speaker = Literal["system", "user", "assistant"]
SPEAKERS: dict[str, Speaker] = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
    "chatgpt": "assistant", "model": "assistant", "bot": "assistant",
}  # fmt: skip
"""Roles by what data sets call them."""


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
        return f"has the role '{role}', none of system, user and assistant"
    if not isinstance(content, str):
        return f"has no text ('{form[1]}' is {type(content).__name__})"
    return Message(speaker, content.replace("\r\n", "\n"))
