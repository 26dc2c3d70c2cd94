"""Reads of what the pipeline has published."""
