"""Where the stage `fetch` put things."""

from pathlib import Path

from data.layout import RunPaths
from data.manifests import Manifest


def model_folder(manifest: Manifest, paths: RunPaths) -> Path:
    """The local folder of the language model. `fetch` names it relative to the store when it lies inside."""
    return paths.store.root / str(manifest.counts["model"])
