"""What each page shows: one dataclass per template, every field used by it."""

from dataclasses import dataclass
from typing import ClassVar

from backend.security import STRICT


@dataclass(frozen=True)
class Page:
    """What every page has."""

    policy: ClassVar[str] = STRICT
    """Its Content-Security-Policy, see backend/security.py."""


@dataclass(frozen=True)
class ErrorPage(Page):
    """error.html: what went wrong, and where to go from here."""

    status: int
    title: str
    detail: str
    """What to do, in a sentence."""
