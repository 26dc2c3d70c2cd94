"""Errors of this package, with messages for people."""


class ModelError(Exception):
    """A model, an SAE or a device cannot be used as asked; the message says what to do."""
