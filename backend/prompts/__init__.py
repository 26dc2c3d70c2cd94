"""Prompts: which features a text lights up."""
