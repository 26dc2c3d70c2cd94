"""Conversations to tokens by the model's chat template: whose each token is, and which of them count.

Plain text that looks like a filled template is told by the names of special tokens in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from data.artifacts.corpus import COUNTED, ROLES
from data.errors import CorpusError
from pipeline.corpus.document import Document
from pipeline.models.chat_template import Speaker
from pipeline.models.errors import ModelError
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import CorpusConfig
from pipeline.recipe.corpus import Turns

NO_TEMPLATE = (
    "the corpus holds conversations, and the model has no chat template to read them by: give a chat model (its name "
    "often ends in -Instruct or -it), put a chat_template.jinja into the model's folder, or set corpus.text_field to a "
    "field with plain text, without corpus.turns"
)


class Encoded(NamedTuple):
    """A document in tokens, without an opening one."""

    tokens: list[int]
    roles_L: npt.NDArray[np.uint8] | None = None
    """See ROLES; None for plain text."""
    is_bad: bool = False
    """Whether it is a conversation that is left out."""

    @property
    def num_counted(self) -> int:
        return len(self.tokens) if self.roles_L is None else int((self.roles_L >= COUNTED).sum())


@dataclass(frozen=True)
class Chats:
    """Makes tokens of conversations."""

    tokenizer: Tokenizer
    counted: frozenset[str]
    """Roles whose tokens count."""
    skips: bool
    """Whether conversations that cannot be had are left out, rather than refused."""

    @classmethod
    def of(cls, config: CorpusConfig, tokenizer: Tokenizer) -> "Chats | None":
        """By the recipe; None where it reads plain text. Raises CorpusError where the model has no template."""
        if config.turns is None:
            return None
        if not tokenizer.has_chat_template:
            raise CorpusError(NO_TEMPLATE)
        template = ("template",) if config.template_tokens else ()
        return cls(tokenizer, frozenset((*roles_of(config.turns), *template)), config.bad_conversations == "skip")

    def encode(self, document: Document) -> Encoded:
        """The tokens of a conversation. Raises CorpusError, which names it, when it cannot be had."""
        assert document.chat is not None, "read as conversations"
        try:
            if document.chat.problem:
                raise ModelError(document.chat.problem)
            found = self.tokenizer.converse(document.chat.messages)
        except ModelError as error:
            if self.skips:
                return Encoded([], np.zeros(0, np.uint8), is_bad=True)
            raise CorpusError(
                f"{document.source}: {error}: mend or remove that conversation, or set corpus.bad_conversations=skip"
            ) from None
        opening = len(self.tokenizer.opening)
        marks = [ROLES.index(role) + COUNTED * (role in self.counted) for role in found.roles[opening:]]
        return Encoded(found.tokens[opening:], np.array(marks, np.uint8))


def roles_of(turns: Turns) -> tuple[str, ...]:
    """The roles whose tokens count."""
    if turns == "all":
        return get_args(Speaker)
    return (turns,) if isinstance(turns, str) else turns


def mark_of(text: str, names: Sequence[str]) -> str:
    """The first of some names that a text holds; "" for none."""
    return next((name for name in names if name in text), "")
