"""A model's chat template filled with a conversation, and which characters of it are whose.

What the template says around the messages is found by filling it with marks in place of their texts. A system message
that it puts in by itself is what stands where one of ours would.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pipeline.models.errors import ModelError

Speaker = Literal["system", "developer", "user", "assistant", "tool"]
Role = Literal["template", "system", "developer", "user", "assistant", "tool"]
"""Whose a token of a chat is; "template": what stands around the messages, and the opening token (BOS)."""

Fill = Callable[[list[dict[str, Any]]], str]
"""From messages (`role`, `content` and what else they have) to the filled template, up to the assistant's answer."""
BETWEEN_PARTS = " "
"""Joins the parts of a content for templates that take one text, as `transformers serve` joins them."""


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Speaker
    content: str | tuple[str, ...]
    """Its text, or the texts of its parts."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Other fields that templates read, such as `tool_calls`. What a template says of them is the template's."""

    @property
    def text(self) -> str:
        """Its whole text."""
        return self.content if isinstance(self.content, str) else BETWEEN_PARTS.join(self.content)


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
    """Of the texts of the messages, in their order."""
    own_system: list[Span]
    """Of a system message that the template puts in by itself, if any."""


class Forms(NamedTuple):
    """Forms of a message's content that a template shows."""

    text: bool
    parts: bool
    """A list of {"type": "text", "text": ...}."""


HIDDEN = "\U0010fffd"
"""A private character that stands for the name of a special token, which a person wrote as plain text."""
_MARK = "\U0010fffc"


def find_forms(fill: Fill) -> Forms:
    """The forms that a template shows, by giving it both."""
    return Forms(_shows(fill, _MARK, 1), _shows(fill, _as_parts((_MARK, _MARK)), 2))


def fill_template(fill: Fill, messages: Sequence[Message], special_names: Sequence[str], forms: Forms) -> Filled:
    """The template filled with messages. Raises ModelError when it refuses them or does not show each as it is.

    forms: those of `find_forms`.
    """
    names = re.compile("|".join(re.escape(name) for name in sorted(special_names, key=len, reverse=True)) or r"\b\B")
    given = [_given(message, forms) for message in messages]
    hidden = [name for one in given for text in one.texts for name in names.findall(text)]
    guarded = [one.guarded(names) for one in given]
    text = _filled(fill, guarded)
    around = _around(fill, guarded)
    _require_calls(fill, guarded, text)
    return Filled(text, hidden, _spans(text, guarded, around), _own_system(fill, guarded, around))


def around_texts(fill: Fill, roles: Sequence[Speaker]) -> list[str]:
    """What a template says before, between and after the messages of some roles, whatever these say.

    Raises ModelError when it refuses such messages or does not show each.
    """
    return _around(fill, [_Given(role, ("",)) for role in roles])


def telling_names(special_names: Sequence[str], fill: Fill | None) -> tuple[str, ...]:
    """Names of special tokens by which a text shows that it is a filled template: those in bars (<|im_start|>), and
    those that the model's own template writes around messages; none that is short, as <s>.

    fill: None for a model without a template.
    """
    written = ""
    if fill is not None:
        with suppress(ModelError):  # one that refuses such messages shows nothing
            written = _filled(fill, [_Given("user", ("",)), _Given("assistant", ("",))])
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


class _Given(NamedTuple):
    """A message as a template is given it."""

    role: Speaker
    texts: tuple[str, ...]
    """Those that the template is to show, in their order."""
    is_list: bool = False
    """Whether they are parts of a list."""
    more: Mapping[str, Any] = {}

    def fields(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "content": _as_parts(self.texts) if self.is_list else "".join(self.texts),
            **self.more,
        }

    def marked(self) -> "_Given":
        """The same with a mark in place of each text."""
        return self._replace(texts=(_MARK,) * len(self.texts))

    def guarded(self, names: re.Pattern[str]) -> "_Given":
        """The same with names of special tokens hidden. Raises ModelError where they stand beside its texts."""
        beside = json.dumps(self.more, ensure_ascii=False, default=str)
        if found := next((name for name in (*names.findall(beside), HIDDEN, _MARK) if name in beside), None):
            raise ModelError(f"a message of the {self.role} has '{found}' in its {', '.join(self.more)}: take it out")
        return self._replace(texts=tuple(names.sub(HIDDEN, text) for text in self.texts))


def _given(message: Message, forms: Forms) -> _Given:
    """The message in a form that the template shows: in its own where it can be."""
    is_list = forms.parts and not (forms.text and isinstance(message.content, str))
    texts = message.content if is_list and not isinstance(message.content, str) else (message.text,)
    if message.more and not message.text:  # which a template need not show beside a call of a tool
        texts = ()
    clean = tuple(text.replace(HIDDEN, "\ufffd").replace(_MARK, "\ufffd") for text in texts)
    return _Given(message.role, clean, is_list, message.more)


def _as_parts(texts: Sequence[str]) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def _shows(fill: Fill, content: Any, times: int) -> bool:
    """Whether a template shows each text of a content once, and as text."""
    try:
        text = fill([{"role": "user", "content": content}])
    except Exception:  # whatever the template's own code raises
        return False
    return text.count(_MARK) == times and '"text"' not in text


def _filled(fill: Fill, messages: Sequence[_Given]) -> str:
    try:
        return fill([message.fields() for message in messages])
    except Exception as error:  # whatever the template's own code raises
        raise ModelError(f"the model's chat template refuses these messages: {error}") from error


def _around(fill: Fill, messages: Sequence[_Given]) -> list[str]:
    """What the template says before, between and after the texts of the messages."""
    around = _filled(fill, [message.marked() for message in messages]).split(_MARK)
    if len(around) != sum(len(message.texts) for message in messages) + 1:
        rare = [f"'{role}'" for role in ("developer", "tool") if any(message.role == role for message in messages)]
        why = f" (of the role {' or '.join(rare)}, perhaps, which not every template knows)" if rare else ""
        raise ModelError(
            f"the model's chat template leaves out or repeats a message{why}: this conversation cannot be had"
        )
    return around


def _require_calls(fill: Fill, messages: Sequence[_Given], text: str) -> None:
    """Raise ModelError where calls of tools are not in the filled template."""
    if any(message.more.get("tool_calls") for message in messages) and _fills_alike(fill, messages, text):
        raise ModelError("the model's chat template leaves out the calls of tools (tool_calls): it knows none")


def _fills_alike(fill: Fill, messages: Sequence[_Given], text: str) -> bool:
    """Whether the template says the same without calls of tools. One that refuses them then does not."""
    others = [{name: value for name, value in one.more.items() if name != "tool_calls"} for one in messages]
    try:
        return _filled(fill, [one._replace(more=more) for one, more in zip(messages, others, strict=True)]) == text
    except ModelError:  # turns no longer alternate, say
        return False


def _spans(text: str, messages: Sequence[_Given], around: Sequence[str]) -> list[Span]:
    """Places of the messages' texts in the filled template, which may have cut off blanks around them."""
    spans: list[Span] = []
    place = len(around[0])
    said = [(message.role, one) for message in messages for one in message.texts]
    for (role, content), after in zip(said, around[1:], strict=True):
        shown = next((one for one in _as_shown(content) if text.startswith(one + after, place)), None)
        if shown is None:
            raise ModelError(
                f"the model's chat template changes what the {role} says, so that it cannot be told from what "
                "the template says: reword that message"
            )
        spans.append(Span(place, place + len(shown), role))
        place += len(shown) + len(after)
    return spans


def _as_shown(content: str) -> tuple[str, ...]:
    """A text as templates show it: as it is, without blanks around it, or (of a tool) as JSON."""
    return content, content.strip(), content.rstrip(), content.lstrip(), json.dumps(content, ensure_ascii=False)[1:-1]


def _own_system(fill: Fill, messages: Sequence[_Given], around: Sequence[str]) -> list[Span]:
    """The system message that a template puts in by itself, if any."""
    if messages[0].role in ("system", "developer"):
        return []
    try:
        before, *rest = _around(fill, [_Given("system", (_MARK,)), *messages])
    except ModelError:  # a template without system messages
        return []
    without, after = around[0], rest[0]
    is_one = without.startswith(before) and without.endswith(after) and len(without) > len(before) + len(after)
    return [Span(len(before), len(without) - len(after), "system")] if is_one else []
