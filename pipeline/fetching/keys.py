"""Keys of the model and the corpus of a recipe, as plain JSON.

Local files count by name, size and time: when they change, so does the key.
"""

from typing import Any

from pipeline.corpus import corpus_files, corpus_root
from pipeline.fetching.local import fingerprint, local_model
from pipeline.recipe import CorpusConfig, ModelConfig


def model_key(config: ModelConfig) -> dict[str, Any]:
    """The settings and files that identify the model."""
    local = None if config.source == "sample" else local_model(config)
    if local is None:
        return {"source": config.source, "revision": config.revision}
    return {"source": str(local), "files": fingerprint(sorted(f for f in local.iterdir() if f.is_file()), local)}


def corpus_key(config: CorpusConfig) -> dict[str, Any]:
    """The settings and files that identify the documents."""
    key = config.model_dump(mode="json", exclude={"path", "held_out_fraction"})
    if config.source == "sample":
        return key
    return {**key, "files": fingerprint(corpus_files(config), corpus_root(config))}
