"""How one server wants to be asked: what it refuses is asked in another way from then on.

All servers speak OpenAI's protocol, but none takes all of it: one gives no probabilities, one's chat template knows no
system message, one's model has a temperature of its own or another name for the most tokens of an answer. A server says
so once, by an error that names what it does not take.
"""

from collections.abc import Sequence
from typing import Any

from pipeline.judges.protocol import fold_system
from pipeline.models.chat_template import Message

TOP_LOGPROBS = 20
REFUSALS = (400, 422, 500)
"""Statuses by which servers refuse a field; some fail (500) where a template refuses a message."""

FOLDS = "takes no system message: the instruction stands before the first question"


class Dialect:
    """What a server takes, as far as it is known."""

    def __init__(self) -> None:
        self.gives_probabilities = True
        self.takes_system = True
        self.takes_temperature = True
        self.limit = "max_tokens"
        """Field of the most tokens that are written."""

    def fields(self, messages: Sequence[Message], max_tokens: int, *, probabilities: bool) -> dict[str, Any]:
        """Fields of a request, beside the model. probabilities: whether they are wanted."""
        said = messages if self.takes_system else fold_system(messages)
        asked: dict[str, Any] = {"messages": [{"role": one.role, "content": one.content} for one in said]}
        asked[self.limit] = max_tokens
        if self.takes_temperature:
            asked["temperature"] = 0
        if probabilities and self.gives_probabilities:
            asked |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return asked

    def learn(self, asked: dict[str, Any], said: str, field: str | None = None) -> str | None:
        """Ask in another way from now on, as what was asked was refused by a message that names a part of it.

        field: that the server itself names, if it does. Returns what is done otherwise, as the end of a sentence; None
        where the message is about nothing that can be.
        """
        about = field or said
        if "max_tokens" in asked and "max_tokens" in about:
            self.limit = "max_completion_tokens"
            return "takes no max_tokens: it gets max_completion_tokens"
        if "temperature" in asked and "temperature" in about:
            self.takes_temperature = False
            return "takes no temperature: it answers at its own"
        if "logprobs" in asked and "logprobs" in about:
            self.gives_probabilities = False
            return "gives no probabilities: its answers are read from its text"
        if begins_with_system(asked) and (_is_of_system(said) or not self.takes_system):
            self.takes_system = False
            return FOLDS
        return None

    def folding(self) -> "Dialect":
        """The same of a server that takes no system message."""
        other = Dialect()
        vars(other).update(vars(self), takes_system=False)
        return other

    def become(self, other: "Dialect") -> None:
        """Ask as another from now on."""
        vars(self).update(vars(other))


def begins_with_system(asked: dict[str, Any]) -> bool:
    """Whether the first message of a request is one of the system."""
    return bool(asked["messages"][0]["role"] == "system")


def _is_of_system(said: str) -> bool:
    """Whether a refusal is one of a system message. Some templates only say that user and assistant must alternate."""
    words = said.lower()
    named = any(name in words for name in ("system role", "'system'", '"system"', "system message", "system prompt"))
    return named or "developer instruction" in words or ("role" in words and "alternate" in words)
