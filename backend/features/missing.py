"""Reasons why a feature has fewer examples than the recipe asks for, by the counts that are published with it."""

from backend.features.links import floor_text
from backend.html.formats import count
from backend.published.catalogue import OpenSAE
from backend.published.features import Feature
from data.artifacts.features import EXAMPLE_KINDS, ExampleKind


def examples_in_recipe(sae: OpenSAE, what: str) -> int:
    """A number of examples that the recipe asks for."""
    return int(sae.run.record.recipe["examples"][what])


def band_edges(sae: OpenSAE, feature: Feature, band: int) -> str:
    """The lowest and the highest activation of a band, as pages write them."""
    width = feature.max / examples_in_recipe(sae, "bands")
    return f"{band * width:.3g} to {(band + 1) * width:.3g}"


def missing_examples(sae: OpenSAE, feature: Feature, kind: ExampleKind) -> str:
    """The reason why there are fewer examples than the recipe asks for; "" when there are not.

    None is given that the published counts do not bear: then the numbers stand alone.
    """
    wanted = examples_in_recipe(sae, "per_band" if kind == "interval" else kind)
    wanted *= examples_in_recipe(sae, "bands") if kind == "interval" else 1
    found = feature.num_examples[kind]
    if found >= wanted or feature.dead:
        return ""
    if _holds_repeats(sae, feature, kind):
        return f"{found} instead of {wanted}: places with the same words around them are shown once."
    reason = {"top": _top, "bottom": _bottom, "contrast": _contrast, "interval": _interval}[kind](sae, feature)
    return f"{found} instead of {wanted}" + (f": {reason}." if reason else ".")


def _holds_repeats(sae: OpenSAE, feature: Feature, kind: ExampleKind) -> bool:
    """Whether one of the examples stands for several places."""
    counts = list(feature.num_examples.values())
    if not feature.num_examples[kind]:
        return False
    examples = sae.run.tables.examples(feature.first_example, counts, EXAMPLE_KINDS.index(kind), ["repeats"])
    return any(examples["repeats"].to_pylist())


def _top(sae: OpenSAE, feature: Feature) -> str:
    found = feature.num_examples["top"]
    if not 0 < found <= feature.num_active:
        return ""
    documents = "one document" if found == 1 else f"{found} documents"
    return f"it is active in {documents} of those that were read, on {_tokens(feature.num_active)}"


def _bottom(sae: OpenSAE, feature: Feature) -> str:
    floor, found = floor_text(sae), feature.num_examples["bottom"]
    if found != feature.num_above_floor:
        return ""
    if found == 0:
        return f"its activation never reaches the floor of {floor}; its maximum is {feature.max:.3g}"
    return f"its activation reaches the floor of {floor} on {_tokens(found)}"


def _contrast(sae: OpenSAE, feature: Feature) -> str:
    found = feature.num_examples["contrast"]
    where = "nowhere else" if found == 0 else "in one other place" if found == 1 else f"in {found} other places"
    sampled, *others = (examples_in_recipe(sae, what) for what in ("contrast_occurrences", "contrast", "top"))
    if sampled >= sum(others):  # each top example takes one at most of its token's occurrences in the sample
        return f"its strongest tokens stand {where}"
    return f"among {sampled} occurrences of each token, its strongest ones stand {where}"


def _interval(sae: OpenSAE, feature: Feature) -> str:
    per_band, counts = examples_in_recipe(sae, "per_band"), feature.band_counts
    if feature.num_examples["interval"] != sum(min(number, per_band) for number in counts):
        return ""
    short = [(band_edges(sae, feature, band), number) for band, number in enumerate(counts) if number < per_band]
    parts = [f"in the band {edges} on {_tokens(number)}" for edges, number in short]
    return "it is active " + " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)


def _tokens(number: int) -> str:
    return "no token" if number == 0 else "one token" if number == 1 else f"{count(number)} tokens"
