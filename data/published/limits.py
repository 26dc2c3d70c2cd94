"""Limits of what people write about features, which pages say and stores keep."""

MAX_LABEL = 100
"""Characters of an owner's label."""
MAX_NOTE = 2_000
"""Characters of an owner's note."""
