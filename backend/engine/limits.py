"""The limits of what the engine is asked."""

MAX_PROMPT_CHARACTERS = 20_000
"""Characters of one prompt; the number of tokens is limited by the settings."""
MAX_FEATURES = 8
