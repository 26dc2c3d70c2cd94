"""Metrics of SAEs on held-out text."""
