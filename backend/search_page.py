"""The search page: its modes, and what it shows of what was found."""

from dataclasses import dataclass
from typing import Literal

from backend.contexts import Link, Page, Pager, RunCard
from backend.queries import FeatureList, Selection

Mode = Literal["words"]
"""What is searched by: `by` in the address."""
MODES: dict[Mode, str] = {"words": "By words"}
"""What the tabs call them, in their order."""


@dataclass(frozen=True)
class SearchPage(Page):
    """search.html: features of all SAEs of a run by words."""

    tabs: list[Link]
    """The modes of the search."""
    selection: Selection
    sae: str
    """Name of the only SAE that is searched, or ""."""
    run: RunCard
    result: FeatureList | None
    """None when nothing was asked for."""
    pager: Pager | None
    series_of: dict[str, int]
    """Colours of the SAEs by name."""


def mode_tabs(mode: Mode) -> list[Link]:
    """The modes as a bar of links, see _search_tabs.html."""
    return [Link(text, "/search" if by == "words" else f"/search?by={by}", by == mode) for by, text in MODES.items()]
