"""Influence of features on what the model writes."""
