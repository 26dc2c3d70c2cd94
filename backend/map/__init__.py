"""The map of decoder directions."""
