"""Tokens as HTML. Made here and not in a template, because a page has thousands of them."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

from markupsafe import Markup, escape

from backend.html.characters import title_of
from backend.html.formats import number
from backend.html.tokens import TokenView, text_direction

DIGITS = 4
"""Of the value that a token tells."""


class HasText(Protocol):
    """A token as shown."""

    @property
    def text(self) -> str: ...


UNCOUNTED = {
    "template": "of the chat template, not counted",
    "system": "of the system message, not counted",
    "user": "of the user, not counted",
    "assistant": "of the assistant, not counted",
    "developer": "of the developer's message, not counted",
    "tool": "of a tool, not counted",
}
"""Titles of tokens of conversations that do not count, by whose they are."""


def tokens_html(tokens: Sequence[TokenView]) -> Markup:
    """One span a token: its step and mark as classes, its activation and what is unusual in its text as title."""
    spans = [_marked(t) if t.level >= 0 or t.mark or t.centre or t.whose else _plain(t.text) for t in tokens]
    return Markup("".join(spans))


def tokens_direction(tokens: Iterable[HasText]) -> str:
    """ltr or rtl, as most of the letters are."""
    return text_direction("".join([token.text for token in tokens]))


@lru_cache(1 << 16)
def _plain(text: str) -> str:
    return f"<span{_title(title_of(text))}>{escape(text)}</span>"


def piece_html(text: str) -> Markup:
    """A token that stands alone, in a list or a sentence, with a title on what is unusual in it."""
    return Markup(f'<code class="piece" dir="auto"{_title(title_of(text))}>{escape(text)}</code>')


def _title(*parts: str) -> str:
    told = ": ".join(part for part in parts if part)
    return f' title="{escape(told)}"' if told else ""


def _marked(token: TokenView) -> str:
    step = f"a{token.level}" if token.level >= 0 else ""
    quiet, centre = "uncounted" if token.whose else "", "centre" if token.centre else ""
    classes = " ".join(name for name in (step, token.mark, centre, quiet) if name)
    title = _title(number(token.value, DIGITS) if step else UNCOUNTED.get(token.whose, ""), title_of(token.text))
    return f'<span class="{classes}"{title}>{escape(token.text)}</span>'
