"""The page of one example's further readings."""

from dataclasses import dataclass

from pydantic import Field

from backend.attribution.readings import STEPS, Causes, Effects, ExampleReading, StoredExample
from backend.html.address import Address
from backend.html.page import Link, Page
from backend.published.cards import SAECard
from backend.published.features import FeatureSummary
from backend.web.live import Answer
from data.artifacts.features import ExampleKind

READING_TITLES: dict[ExampleReading, str] = {
    "causes": "Which tokens made it fire",
    "effects": "Which next tokens it changes",
}


class ExampleState(Address):
    """The query string of the page."""

    always = ("kind", "rank", "reading")

    kind: ExampleKind = "top"
    rank: int = Field(0, ge=0)
    reading: ExampleReading = "causes"
    live: bool = False
    """Whether the model is asked even where the run published the reading."""


@dataclass(frozen=True)
class ExamplePage(Page):
    """attribution/example.html: one example, coloured by what made the feature fire or by what it changes."""

    feature: FeatureSummary
    sae: SAECard
    example: StoredExample
    readings: list[Link]
    """Links to the readings of this example."""
    off: str
    """The reason why the model is not available; "" when it is."""
    problem: str
    """The reason why this could not be computed; "" when it was."""
    causes: Causes | None
    effects: Effects | None
    coloured_href: str
    """The address of the same with every token coloured by the model; "" where it is, or the model is not available."""
    steps: int
    """Steps of the colour scale in each direction."""


def example_page_of(
    feature: FeatureSummary,
    sae: SAECard,
    example: StoredExample,
    reading: ExampleReading,
    answer: Answer[Causes | Effects],
) -> ExamplePage:
    """The page's context."""
    state = ExampleState(kind=example.kind, rank=example.rank)
    links = {one: f"{feature.href}/example{state.query(reading=one)}" for one in READING_TITLES}
    effects = answer.result if isinstance(answer.result, Effects) else None
    uncoloured = effects is not None and not effects.coloured and not answer.off
    return ExamplePage(
        feature=feature,
        sae=sae,
        example=example,
        readings=[Link(title, links[one], one == reading) for one, title in READING_TITLES.items()],
        off="" if answer.result else answer.off,
        problem=str(answer.error or ""),
        causes=answer.result if isinstance(answer.result, Causes) else None,
        effects=effects,
        coloured_href=links[reading] + "&live=true" if uncoloured else "",
        steps=STEPS,
    )
