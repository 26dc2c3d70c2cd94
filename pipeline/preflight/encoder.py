"""The sentence encoder of the search by meaning."""

from data.errors import MonosemaError
from data.layout import StorePaths
from pipeline.fetching.encoders import encoder_place
from pipeline.fetching.hub import list_files
from pipeline.models.errors import ModelError
from pipeline.models.sentences import ENCODER_FILES, POOLING_FILE, SentenceEncoder
from pipeline.recipe import SAMPLE_ENCODER, EmbedConfig


def encoder_problems(config: EmbedConfig, store: StorePaths) -> list[str]:
    """What keeps the encoder from being read, as far as it is here, or its files are listed."""
    try:
        place = encoder_place(config, store)
        if place is None:
            return []
        if place.is_dir():
            SentenceEncoder.load(place)
        elif config.source != SAMPLE_ENCODER:
            return _listing_problems(config)
    except (MonosemaError, ModelError) as error:
        return [str(error)]
    return []


def _listing_problems(config: EmbedConfig) -> list[str]:
    files = list_files(config.source, config.revision, "embed")
    missing = [name for name in ENCODER_FILES if name not in files and name != POOLING_FILE]
    if missing:
        return [
            f"{config.source} has no {' and no '.join(missing)}: set embed.source to {SAMPLE_ENCODER}, or to an "
            "encoder of its kind (a BERT saved as safetensors)"
        ]
    return []
