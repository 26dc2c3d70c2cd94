"""Features that say little of a text: those that are active nearly everywhere, or where passages begin."""

FREQUENT = 0.05
"""Density above which a feature is active too often to say much."""
MOSTLY = 0.5
"""Share of its top examples at the start of what the model read, above which it tells where a passage begins."""
