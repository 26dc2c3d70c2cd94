"""Scores: whether features mean what their labels say, and whether who says so can be trusted."""
