"""The state of the prompt page, in its address."""

from pydantic import Field

from backend.engine.messages import Prompt
from backend.html.address import Address, ShortFloat
from backend.prompts.ranking import Rank
from backend.prompts.store import is_long

MAX_SAES = 8


class PromptState(Address):
    """The query string of the prompt page, and its form."""

    path = "/prompt"
    always = ("hide",)

    text: str = ""
    """Not in the address when it is stored."""
    p: str = ""
    """Id of the text, where it is stored."""
    sae: list[str] = Field(default=[], max_length=MAX_SAES)
    """model/name each."""
    chat: bool = False
    template: bool = False
    """Whether the tokens of the chat template are counted, too."""
    plain: bool = False
    """Whether a text that is a filled chat template is read as plain text, letter by letter."""
    rank: Rank = "max"
    hide: ShortFloat = Field(default=1.0, ge=0, le=1)
    mixed: bool = False
    """Whether features that say little are ranked like the others; otherwise they come last."""
    f: str = ""
    """model/sae/index of the feature whose activations colour the tokens."""
    token: int | None = Field(default=None, ge=0)
    """Number of the token whose features are listed; by default the last that counts and holds a letter or a digit."""

    @property
    def long(self) -> bool:
        """Whether the text is too long for an address and not stored."""
        return not self.p and is_long(self.text)

    @property
    def prompt(self) -> Prompt:
        """For the engine."""
        return Prompt(self.text, self.chat, special_tokens=not self.plain, template_tokens=self.template)

    def pairs(self) -> list[tuple[str, str]]:
        return [pair for pair in super().pairs() if not self.p or pair[0] != "text"]
