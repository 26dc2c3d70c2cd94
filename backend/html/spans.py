"""Tokens as HTML. Made here and not in a template, because a page has thousands of them."""

from collections.abc import Sequence
from functools import lru_cache

from markupsafe import Markup, escape

from backend.html.formats import number
from backend.html.tokens import TokenView, text_direction

DIGITS = 4
"""Of the value that a token tells."""


def tokens_html(tokens: Sequence[TokenView]) -> Markup:
    """One span a token: its step and mark as classes, its activation as title where it has one."""
    spans = [_plain(t.text) if t.level < 0 and not t.mark and not t.centre else _marked(t) for t in tokens]
    return Markup("".join(spans))


def tokens_direction(tokens: Sequence[TokenView]) -> str:
    """ltr or rtl, as most of the letters are."""
    return text_direction("".join([token.text for token in tokens]))


@lru_cache(1 << 16)
def _plain(text: str) -> str:
    return f"<span>{escape(text)}</span>"


def _marked(token: TokenView) -> str:
    step = f"a{token.level}" if token.level >= 0 else ""
    classes = " ".join(name for name in (step, token.mark, "centre" if token.centre else "") if name)
    title = f' title="{number(token.value, DIGITS)}"' if step else ""
    return f'<span class="{classes}"{title}>{escape(token.text)}</span>'
