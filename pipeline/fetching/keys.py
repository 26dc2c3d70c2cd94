"""Keys of the model and the corpus of a recipe, as plain JSON.

Local files count by name, size and time: when they change, so does the key.
"""

from typing import Any

from pipeline.corpus import corpus_files, corpus_root
from pipeline.fetching.local import fingerprint, local_model
from pipeline.recipe import CorpusConfig, ModelConfig

LATER_FIELDS = ("separator", "bad_encoding", "max_document_characters")
"""Fields of the corpus that count only where they are not as usual, so that the sample's key is what it was."""
READING = 2
"""Raised when the same files give other documents."""


def model_key(config: ModelConfig) -> dict[str, Any]:
    """The settings and files that identify the model."""
    local = None if config.source == "sample" else local_model(config)
    if local is None:
        return {"source": config.source, "revision": config.revision}
    return {"source": str(local), "files": fingerprint(sorted(f for f in local.iterdir() if f.is_file()), local)}


def corpus_key(config: CorpusConfig) -> dict[str, Any]:
    """The settings and files that identify the documents."""
    usual = {name for name in LATER_FIELDS if getattr(config, name) == CorpusConfig.model_fields[name].default}
    key = config.model_dump(mode="json", exclude={"path", "held_out_fraction"} | usual)
    if config.source == "sample":
        return key
    return {**key, "reading": READING, "files": fingerprint(corpus_files(config), corpus_root(config))}
