"""The contract: what every artifact of Monosema is, where it lies, and how it is read and written."""

CONTRACT_VERSION = 1
"""Raised whenever an artifact or a published table changes so that older ones cannot be read as they are."""

__version__ = "0.1.0"
