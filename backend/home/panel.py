"""What the home page leads with: one question answered twice, with a slider over the stored strengths."""

from dataclasses import dataclass

from pydantic import Field

from backend.html.address import Address, ShortFloat
from backend.html.page import Link
from backend.html.tokens import visible_text
from backend.published.catalogue import Catalogue, OpenRun
from backend.published.demonstrations import Demonstrations, StoredDemonstration, StoredText, demonstrations

OTHERS_SHOWN = 8


class HomeState(Address):
    """The demonstration that the page leads with, and its strength."""

    path = "/"

    demo: str = Field(default="", max_length=200)
    """model/sae/index; "" for the best."""
    strength: ShortFloat | None = None
    """None for the best."""


@dataclass(frozen=True)
class Stop:
    """A strength of the slider."""

    stored: StoredText
    href: str
    """This page with it."""
    current: bool
    breaks: bool
    """Whether the feature's own curve says that the text breaks at this strength."""


@dataclass(frozen=True)
class Panel:
    """One question answered twice, with a slider over the strengths of which texts are stored."""

    demo: StoredDemonstration
    stops: list[Stop]
    shown: StoredText
    others: list[Link]
    """This page with other demonstrations."""
    run: OpenRun


def panel_of(catalogue: Catalogue, state: HomeState) -> Panel | None:
    """The demonstration that the address names, else the best of the newest run that has one."""
    found = [(run, run.once(demonstrations)) for run in catalogue.runs]
    named = [(run, all_, one) for run, all_ in found if (one := all_.of(state.demo))]
    best = [(run, all_, one) for run, all_ in found if (one := all_.lead)]
    return _panel(*(named or best)[0], state) if named or best else None


def _panel(run: OpenRun, all_: Demonstrations, demo: StoredDemonstration, state: HomeState) -> Panel:
    shown = demo.at(state.strength) or demo.opens
    place = HomeState(demo="" if demo is all_.lead and not state.demo else demo.feature.name)
    others = [one for one in all_.all if one is not demo][:OTHERS_SHOWN]
    return Panel(
        demo=demo,
        stops=[
            Stop(
                text,
                place.href(strength=text.strength),
                current=text is shown,
                breaks=demo.breaks(text),
            )
            for text in demo.texts
        ],
        shown=shown,
        others=[Link(one.feature.title, HomeState(demo=one.feature.name).href()) for one in others],
        run=run,
    )


def description_of(panel: Panel) -> str:
    """The opening and both texts, in one line."""
    demo, shown = panel.demo, panel.shown
    texts = [visible_text(" ".join(text.split())) for text in (demo.opening, shown.text, demo.baseline)]
    return f"{texts[0]} With {demo.feature.title} turned up: {texts[1]} — By itself: {texts[2]}"
