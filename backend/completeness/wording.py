"""What the page of completeness says of what was found, in sentences."""

from backend.completeness.rows import about
from backend.html.formats import count, share
from backend.published.catalogue import OpenSAE
from backend.published.concepts import concepts_of, nearest_of, own_of
from backend.published.verdicts import Overruled
from data.artifacts.completeness import CompletenessCounts, SAECounts
from data.concepts.frequency import Fit
from data.concepts.specificity import THRESHOLDS

Verdicts = dict[tuple[str, str], Overruled]
"""Of owners, by list and name of a concept."""


def headline_text(found: CompletenessCounts, sae: OpenSAE, mine: SAECounts | None) -> str:
    """How many concepts have a feature of their own."""
    if mine is None:
        return "How many concepts have a feature of their own?"
    total = found.num_counted
    return (
        f"{count(mine.num_represented)} of {count(total)} concepts ({share(mine.num_represented / max(1, total), 2)}) "
        f"have a feature of their own in {sae.name}"
    )


def meaning_text(found: CompletenessCounts, mine: SAECounts) -> str:
    """What follows of it."""
    part = mine.num_represented / max(1, found.num_counted)
    if part >= 0.5:
        return "Most do; those that do not are rarer, or share a feature with others."
    return (
        f"Most have none: {count(mine.num_alive)} features that saw {about(found.num_tokens)} tokens of text are spent "
        "on what stands there often, and rarer concepts share features with their kin."
    )


def in_text(sae: OpenSAE) -> str:
    """How many of these features stand for their concept in text too; "" without any."""
    concepts = concepts_of(sae.run)
    own = [one.in_text for number, one in own_of(sae).items() if not concepts[number].ambiguous]
    num, mostly = len(own), sum(found.mostly for found in own)
    if not own:
        return ""
    if mostly == num:
        return "Their examples in text stand on the concept, too, at least half of them."
    return (
        f"That is by prompts, and by {share(THRESHOLDS.text, 2)} of the examples in text at least. At least half of "
        f"these stand on the concept for {count(mostly)} of the {count(num)}; the rest fire in text more often on "
        "something else."
    )


def half_text(fit: Fit | None) -> str:
    """How often a concept must occur for even odds."""
    if fit is None or fit.slope <= 0:
        return "–"
    return f"1 in {about(1 / fit.half)}" if fit.half < 1 else "beyond any"


def ambiguous_text(sae: OpenSAE) -> str:
    """How many concepts stand apart for their other senses; "" for none."""
    found = [bool(nearest_of(sae).specific_N[one.number]) for one in concepts_of(sae.run) if one.ambiguous]
    if not found:
        return ""
    some, their = ("concept is", "its") if len(found) == 1 else ("concepts are", "their")
    return (
        f"{count(len(found))} more {some} also ordinary words or names, such as lead and to lead. By what is written "
        f"alone {count(sum(found))} of them would have a feature; for {their} other senses none is counted."
    )


def overruled_text(sae: OpenSAE, verdicts: Verdicts) -> str:
    """Of the concepts of the run's lists."""
    nearest = nearest_of(sae)
    said = [
        (verdict.represented, bool(nearest.specific_N[one.number]))
        for one in concepts_of(sae.run)
        if not one.ambiguous and (verdict := verdicts.get((one.list.name, one.name)))
    ]
    changed = sum(theirs != found for theirs, found in said)
    if not changed:
        return ""
    measured = sum(bool(nearest.specific_N[one.number]) for one in concepts_of(sae.run) if not one.ambiguous)
    total = measured + sum(int(theirs) - int(found) for theirs, found in said)
    return f"Owners of this server overruled {count(changed)} of these verdicts: by theirs it is {count(total)}."
