"""How features of an SAE do when they are held, as its page says it."""

from dataclasses import dataclass

from backend.html.formats import count
from backend.published.catalogue import OpenSAE

ENOUGH = 10
"""Features drawn at random from which a share is more than a hint."""


@dataclass(frozen=True)
class StrengthSummary:
    """What a random sample of an SAE's features does at one strength after the other."""

    headline: str
    meaning: str
    breaks: str
    """Where texts break, as a sentence."""


def strength_summary(sae: OpenSAE) -> StrengthSummary | None:
    """Of an SAE; None where none of its features was drawn."""
    found = sae.run.record.corpus.get("strengths", {}).get("saes", {}).get(sae.name)
    if not found or not found["num_random"]:
        return None
    drawn, moved, middle = found["num_random"], found["num_moved"], found["median_break"]
    breaks = "None of their texts breaks at a strength that was tried."
    if middle is not None:
        breaks = f"In the middle their texts break at {middle:g} times their highest activation."
    few = "" if drawn >= ENOUGH else ", too few to tell of all,"
    return StrengthSummary(
        headline=f"{count(moved)} of {count(drawn)} features drawn at random{few} can be held usefully:",
        meaning="at some strength what is written comes nearer to what they are about before it breaks.",
        breaks=breaks,
    )
