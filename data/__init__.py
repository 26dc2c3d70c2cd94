"""The contract: what every artifact of Monosema is, where it lies, and how it is read and written."""

ARTIFACT_VERSION = 1
"""Part of every artifact's key: raised when manifests, shards or documents change so that none can be read as it is.
What one stage alone writes has the version of that stage, so that the others need not run again."""

CONTRACT_VERSION = 7
"""Of the published tables: raised whenever they change so that the server cannot read older ones as they are. The
stages that write what changed, and `publish`, then run again; the rest of a run stays."""

__version__ = "0.1.0"
