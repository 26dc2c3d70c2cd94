"""Tokens that become the examples of a feature, and the texts around them."""
