"""A text in a request of the API, and its tokens in the answer."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from backend.engine.limits import MAX_PROMPT_CHARACTERS
from backend.engine.messages import Outcome, Prompt, PromptReading
from backend.html.tokens import token_texts
from backend.texts import Typed

Text = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)]


class PromptBody(Typed):
    """A text to read."""

    text: Text
    chat: bool = Field(False, description="Put the text into the model's chat template.")
    special_tokens: bool = Field(
        False, description="Read a text that is a filled chat template as such: its marks as the tokens they name."
    )
    template_tokens: bool = Field(False, description="Count the tokens of the chat template, too.")

    @property
    def prompt(self) -> Prompt:
        """For the engine."""
        return Prompt(self.text, self.chat, self.special_tokens, self.template_tokens)


@dataclass(frozen=True)
class ReadToken:
    """A token as the model reads it."""

    token: int
    text: str
    left_out: bool
    """BOS, an attention sink, or a token of the chat template: not counted."""
    whose: str
    """template or system where it is of the chat template, or of the system message that this puts in; else ""."""


def read_tokens(read: PromptReading | Outcome) -> list[ReadToken]:
    """The tokens of a text that was read."""
    texts = [shown.text for shown in token_texts(read.pieces)]
    return [ReadToken(*one) for one in zip(read.tokens, texts, read.left_out, read.whose, strict=True)]


def uncounted(reading: PromptReading, prompt: Prompt) -> list[str]:
    """Whose each token is that is left out because it is not of the text; "" for all others, so for the opening token
    and sinks of a template that counts."""
    counts = prompt.template_tokens
    return [one if out and not counts else "" for one, out in zip(reading.whose, reading.left_out, strict=True)]


def num_of_template(reading: PromptReading, prompt: Prompt) -> int:
    """Tokens of the chat template that are not counted; or those that are where they count: not its opening token then,
    nor its sinks."""
    counts = prompt.template_tokens
    return sum(bool(one) and out != counts for one, out in zip(reading.whose, reading.left_out, strict=True))
