"""Wording of a label: items that fit its length, and words put together as text."""

from collections.abc import Iterable

MAX_LENGTH = 48
"""Characters of a label."""
MOST_ITEMS = 4
"""Words that a label lists."""


def unique(texts: Iterable[str]) -> list[str]:
    """Texts that differ by more than case, in order."""
    seen: dict[str, str] = {}
    for text in texts:
        seen.setdefault(text.casefold(), text)
    return list(seen.values())


def fit(start: str, items: Iterable[str], separator: str = ", ", end: str = "") -> str:
    """As many items as MAX_LENGTH takes, at most MOST_ITEMS and at least one, which is cut if need be."""
    items = [item for item in items if item][:MOST_ITEMS]
    while len(items) > 1 and len(start + separator.join(items) + end) > MAX_LENGTH:
        items.pop()
    return cut(start + separator.join(items) + end)


def cut(text: str) -> str:
    """At most MAX_LENGTH characters."""
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"


def join_words(parts: Iterable[str]) -> str:
    """Words with spaces between, but none before a mark that closes nor after one that opens."""
    text = ""
    for part in parts:
        close = not text or text.endswith(("(", "[", "“", "$")) or part[0] in ",.;:!?)]’'”%"
        text += part if close else f" {part}"
    return text
