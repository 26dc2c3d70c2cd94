"""Judges: who says whether a label fits a text, and how what they say is kept."""
