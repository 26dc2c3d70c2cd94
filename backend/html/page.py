"""The base of page contexts (one dataclass per template, every field used by it), and parts that they share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from backend.html.policies import STRICT


@dataclass(frozen=True)
class Page:
    """The base of all page contexts."""

    policy: ClassVar[str] = STRICT
    """Its Content-Security-Policy, see backend/html/policies.py."""


@dataclass(frozen=True)
class Link:
    """A link that may be the current one."""

    text: str
    href: str
    current: bool = False


@dataclass(frozen=True)
class Pager:
    """The position of a page in a list, with links to the pages beside it."""

    text: str
    """e.g. 51–100 of 4,096"""
    previous: str | None
    """From beyond the end, the last page."""
    next: str | None
    last_page: int
    beyond: bool
    """Whether there is no such page, though there are others."""

    @classmethod
    def at(cls, page: int, per_page: int, total: int, address: Callable[[int], str]) -> Self:
        """The pager of a page (from 1) of `total` entries. address: of a page."""
        first, last, last_page = (page - 1) * per_page, min(page * per_page, total), max(1, -(-total // per_page))
        return cls(
            text=f"{first + 1:,}–{last:,} of {total:,}" if first < total else f"0 of {total:,}",
            previous=address(min(page - 1, last_page)) if page > 1 else None,
            next=address(page + 1) if last < total else None,
            last_page=last_page,
            beyond=page > last_page and total > 0,
        )


@dataclass(frozen=True)
class Notice:
    """Something that is not as a person would expect it, and what to do about it."""

    title: str
    text: str
