"""Strengths as they are shown, and what the run measured of them."""

from collections.abc import Sequence

from backend.engine.messages import Scope, SteeringMode
from backend.published.features import FeatureSummary

DEFAULT_STRENGTH = 2.0
"""Strength of a feature that was just added and has none that was measured to be best."""


def times(strength: float) -> str:
    """A strength as it is shown."""
    return f"{strength:g}×".replace("-", "−")


def default_strength(feature: FeatureSummary) -> float:
    """Strength of a feature that was just added: the best of its curve, else that of its best text, if any."""
    measured = (feature.peak_strength, feature.best_strength)
    return next((one for one in measured if one is not None), DEFAULT_STRENGTH)


def strength_note(feature: FeatureSummary) -> str:
    """Where the strength of a feature that was just added is from, in a few words."""
    breaks = f"; the text breaks from {times(feature.break_strength)} on" if feature.break_strength else ""
    if feature.peak_strength is not None:
        return f"Measured best at {times(feature.peak_strength)}{breaks}."
    if feature.best_strength is not None:
        return f"Its best text was written at {times(feature.best_strength)}{breaks}."
    if breaks:
        return f"Measured: no strength was good{breaks}."
    return f"Not measured how strongly: begins at {times(DEFAULT_STRENGTH)}."


def break_note(
    held: Sequence[tuple[FeatureSummary, float | None]], mode: SteeringMode = "clamp", scope: Scope = "all"
) -> str:
    """What is said below a text at whose strengths the run measured that texts break; "" below others.

    held: features, each with its strength. Curves are of features that are held at every token.
    """
    if (mode, scope) != ("clamp", "all"):
        return ""
    measured = [(feature, strength, feature.break_strength) for feature, strength in held]
    found = [(feature, limit) for feature, strength, limit in measured if strength and limit and strength >= limit]
    whose = [f"{times(limit)} on" + (f" of {feature.title}" if len(held) > 1 else "") for feature, limit in found]
    return f"Measured: the text breaks from {', or from '.join(whose)}." if whose else ""
