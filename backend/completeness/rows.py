"""A concept as pages and the API show it: whether it has a feature of its own, and what shows it."""

from dataclasses import dataclass

from backend.html.formats import count, number
from backend.published.catalogue import OpenRun
from backend.published.concepts import Candidate
from backend.published.features import FeatureSummary, get_summaries
from backend.published.verdicts import Overruled
from data.concepts.specificity import THRESHOLDS


@dataclass(frozen=True, slots=True)
class ConceptRow:
    """A concept in one SAE."""

    list: str
    """Name of its list."""
    list_title: str
    name: str
    occurrences: int | None
    """In the training documents; None where it was not counted."""
    often: str
    """The same in words, and as a share of the tokens."""
    num_prompts: int
    ambiguous: bool
    """Whether it is also an ordinary word or a name: then no share counts it."""
    represented: bool
    """By what was measured."""
    candidate: Candidate | None
    """Its own feature, or the one that comes nearest; None where no feature is active on its prompts."""
    feature: FeatureSummary | None
    overruled: Overruled | None
    also_in: str = ""
    """The other lists of the run that have its name, where they are counted too; "" for none."""

    @property
    def verdict(self) -> bool:
        """An owner's, where there is one."""
        return self.represented if self.overruled is None else self.overruled.represented

    @property
    def why_not(self) -> str:
        """What keeps the nearest feature from being its own, as a sentence; "" for its own."""
        return "" if self.represented else _why_not(self.candidate, self.num_prompts)

    @property
    def how_own(self) -> str:
        """In which way its feature is its own, in a few words; "" without one."""
        if not self.represented or self.candidate is None:
            return ""
        where = "" if self.candidate.in_text.mostly else " by prompts, but in text more often on something else"
        return f"The word’s own, whatever its sense{where}" if self.ambiguous else f"Its own{where}"

    @property
    def evidence(self) -> str:
        """What shows that the feature is its own, as a phrase; "" without one."""
        return _evidence(self.candidate, self.num_prompts) if self.candidate else ""


def _evidence(found: Candidate, num_prompts: int) -> str:
    parts = [f"{found.own} of {num_prompts} prompts"]
    parts.append(f"also on {rivals_text(found)}" if found.num_rivals else "on no other concept")
    if found.num_examples_read:
        parts.append(f"{found.num_on_concept} of {found.num_examples_read} examples in text stand on it")
    return "; ".join(parts)


def _why_not(found: Candidate | None, num_prompts: int) -> str:
    if found is None:
        return "No feature is active on it."
    if found.own < THRESHOLDS.recall * num_prompts:
        return f"It fires on {found.own} of {num_prompts} of its prompts."
    if found.precision < THRESHOLDS.precision:
        return f"It fires on {rivals_text(found)} too."
    return f"{found.num_on_concept} of {found.num_examples_read} of its examples in the corpus speak of it."


def rivals_text(found: Candidate) -> str:
    """The other concepts on which a feature fires, as a phrase; "" for none."""
    named = found.rivals[:3]
    rest = found.num_rivals - len(named)
    if rest > 0:
        return f"{', '.join(named)} and {count(rest)} other concept{'s' * (rest != 1)}"
    return " and ".join(filter(None, [", ".join(named[:-1]), *named[-1:]]))


def frequency_text(occurrences: int | None, num_tokens: int) -> str:
    """How often a concept occurs, in words."""
    if occurrences is None:
        return "not counted"
    if occurrences == 0:
        return "never"
    return f"{count(occurrences)}× (1 in {about(num_tokens / occurrences)})"


def about(tokens: float) -> str:
    """A number of tokens by two digits: 340, 12,000."""
    return number(float(f"{tokens:.2g}"), 2)


def features_of(run: OpenRun, candidates: list[Candidate | None]) -> list[FeatureSummary | None]:
    """The feature of each candidate, in one read."""
    rows = [one.row for one in candidates if one]
    found = iter(get_summaries(run, rows) if rows else [])
    return [next(found) if one else None for one in candidates]
