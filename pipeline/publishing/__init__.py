"""From artifacts to published tables."""
