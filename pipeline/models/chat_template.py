"""A model's chat template filled with a conversation, and which characters of it are whose.

What the template says around the messages is found by filling it with marks in place of their texts. A system message
that it puts in by itself is what stands where one of ours would.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pipeline.models.errors import ModelError

Role = Literal["template", "system", "user", "assistant"]
"""Whose a token of a chat is; "template": what stands around the messages, and the opening token (BOS)."""

Fill = Callable[[list[dict[str, str]]], str]
"""From messages (`role` and `content` each) to the filled template, up to where the assistant answers."""


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Conversation(NamedTuple):
    """A conversation in tokens, up to where the assistant answers."""

    tokens: list[int]
    """With exactly one BOS, which stands first, where the model has one."""
    roles: list[Role]
    """Of each token. A token that reaches into a message is of that message."""


class Span(NamedTuple):
    """Characters of a filled template that are of one message."""

    start: int
    stop: int
    role: Role


class Filled(NamedTuple):
    """A filled template."""

    text: str
    """Each name of a special token within a message is hidden behind HIDDEN."""
    hidden: list[str]
    """These names, in their order."""
    spans: list[Span]
    """Of the messages, in their order; a system message that the template puts in by itself is the first."""


HIDDEN = "\U0010fffd"
"""A private character that stands for the name of a special token, which a person wrote as plain text."""
_MARK = "\U0010fffc"


def fill_template(fill: Fill, messages: Sequence[Message], special_names: Sequence[str]) -> Filled:
    """The template filled with messages. Raises ModelError when it refuses them or does not show each as it is."""
    names = re.compile("|".join(re.escape(name) for name in sorted(special_names, key=len, reverse=True)) or r"\b\B")
    clean = [message.content.replace(HIDDEN, "\ufffd").replace(_MARK, "\ufffd") for message in messages]
    hidden = [name for content in clean for name in names.findall(content)]
    guarded = [Message(m.role, names.sub(HIDDEN, content)) for m, content in zip(messages, clean, strict=True)]
    text = _filled(fill, guarded)
    around = _around(fill, guarded)
    return Filled(text, hidden, _default_system(fill, guarded, around) + _spans(text, guarded, around))


def telling_names(special_names: Sequence[str], fill: Fill | None) -> tuple[str, ...]:
    """Names of special tokens by which a text shows that it is a filled template: those in bars (<|im_start|>), and
    those that the model's own template writes around messages; none that is short, as <s>.

    fill: None for a model without a template.
    """
    written = ""
    if fill is not None:
        with suppress(ModelError):  # one that refuses such messages shows nothing
            written = _filled(fill, [Message("user", ""), Message("assistant", "")])
    return tuple(name for name in special_names if len(name) >= 5 and (name.startswith("<|") or name in written))


def covered_characters(offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Characters that each token covers. Blanks that a tokenizer leaves out of a token's place are of that token."""
    covered: list[tuple[int, int]] = []
    last = 0
    for start, stop in offsets:
        covered.append((min(start, last), stop))
        last = stop
    return covered


def role_of(start: int, stop: int, spans: Sequence[Span]) -> Role:
    """The role of characters from `start` to `stop`."""
    return next((span.role for span in spans if span.start < stop and start < span.stop), "template")


def _filled(fill: Fill, messages: Sequence[Message]) -> str:
    try:
        return fill([{"role": message.role, "content": message.content} for message in messages])
    except Exception as error:  # whatever the template's own code raises
        raise ModelError(f"the model's chat template refuses these messages: {error}") from error


def _around(fill: Fill, messages: Sequence[Message]) -> list[str]:
    """What the template says before, between and after the messages."""
    around = _filled(fill, [Message(message.role, _MARK) for message in messages]).split(_MARK)
    if len(around) != len(messages) + 1:
        raise ModelError("the model's chat template leaves out or repeats a message: this conversation cannot be had")
    return around


def _spans(text: str, messages: Sequence[Message], around: Sequence[str]) -> list[Span]:
    """Places of the messages in the filled template, which may have cut off blanks around them."""
    spans: list[Span] = []
    place = len(around[0])
    for message, after in zip(messages, around[1:], strict=True):
        shown = next((one for one in _as_shown(message.content) if text.startswith(one + after, place)), None)
        if shown is None:
            raise ModelError(
                f"the model's chat template changes what the {message.role} says, so that it cannot be told from what "
                "the template says: reword that message"
            )
        spans.append(Span(place, place + len(shown), message.role))
        place += len(shown) + len(after)
    return spans


def _as_shown(content: str) -> tuple[str, ...]:
    return content, content.strip(), content.rstrip(), content.lstrip()


def _default_system(fill: Fill, messages: Sequence[Message], around: Sequence[str]) -> list[Span]:
    """The system message that a template puts in by itself, if any."""
    if messages[0].role == "system":
        return []
    try:
        before, *rest = _around(fill, [Message("system", _MARK), *messages])
    except ModelError:  # a template without system messages
        return []
    without, after = around[0], rest[0]
    is_one = without.startswith(before) and without.endswith(after) and len(without) > len(before) + len(after)
    return [Span(len(before), len(without) - len(after), "system")] if is_one else []
