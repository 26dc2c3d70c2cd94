"""Prompts: the features that a text activates."""
