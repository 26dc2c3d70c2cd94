"""Whole examples to start with: the beginning of a sentence, and one of the features chosen for this run."""

from dataclasses import dataclass

from backend.catalogue import OpenRun
from backend.queries import FeatureSummary
from backend.showpieces import showpieces

PROMPTS = ("I am a", "My favourite thing is", "The most important thing to know is")


@dataclass(frozen=True)
class Opening:
    """An example with one feature."""

    prompt: str
    feature: FeatureSummary


def openings(run: OpenRun) -> list[Opening]:
    """One for each prompt, worked out once for a published run."""
    if "openings" not in run.remembered:
        run.remembered["openings"] = [Opening(*one) for one in zip(PROMPTS, showpieces(run), strict=False)]
    found: list[Opening] = run.remembered["openings"]
    return found
