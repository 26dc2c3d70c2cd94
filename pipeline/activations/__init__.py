"""Residual-stream activations: harvested, shuffled, read again."""
