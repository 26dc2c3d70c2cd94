"""The page of one example's further readings."""

from dataclasses import dataclass

from backend.attribution.examples import STEPS, Causes, Effects, Reading, StoredExample
from backend.html.page import Link, Page
from backend.html.templates import query
from backend.published.cards import SAECard
from backend.published.features import FeatureSummary
from backend.web.live import Answer

TITLES: dict[Reading, str] = {
    "causes": "Which tokens made it fire",
    "effects": "Which next tokens it changes",
}


@dataclass(frozen=True)
class ExamplePage(Page):
    """attribution/example.html: one example, coloured by what made the feature fire or by what it changes."""

    feature: FeatureSummary
    sae: SAECard
    example: StoredExample
    readings: list[Link]
    """Of this example."""
    reading: Reading
    off: str
    """Why the model cannot be asked; "" when it can."""
    problem: str
    """Why this could not be worked out; "" when it was."""
    causes: Causes | None
    effects: Effects | None
    steps: int
    """Of colour in each direction."""


def example_href(feature: FeatureSummary, example: StoredExample, reading: Reading) -> str:
    """The address of the page."""
    return f"{feature.href}/example" + query(kind=example.kind, rank=example.rank, reading=reading)


def example_page(
    feature: FeatureSummary,
    sae: SAECard,
    example: StoredExample,
    reading: Reading,
    answer: Answer[Causes | Effects],
) -> ExamplePage:
    """The page with what was found, or why nothing was."""
    return ExamplePage(
        feature=feature,
        sae=sae,
        example=example,
        readings=[Link(title, example_href(feature, example, one), one == reading) for one, title in TITLES.items()],
        reading=reading,
        off=answer.off,
        problem=str(answer.error or ""),
        causes=answer.result if isinstance(answer.result, Causes) else None,
        effects=answer.result if isinstance(answer.result, Effects) else None,
        steps=STEPS,
    )
