"""Local files of the model and the corpus: their folders, and checks of those that a recipe names."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data.errors import ConfigError, DeviceError
from data.layout import RunPaths, StorePaths
from data.manifests import Manifest, digest
from pipeline.fetching.contents import folder_problems
from pipeline.models.device import check_device
from pipeline.models.errors import ModelError
from pipeline.recipe import ModelConfig, Recipe

SAMPLE_MODEL = "smollm2-135m"
SAMPLE_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
"""What the sample model is converted from."""
SAMPLE_CORPUS = "wikitext-2"
OLD_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "max_position_embeddings": "n_positions",
    "intermediate_size": "n_inner",
}
"""Fields of config.json, and what GPT-2 and models after it call them."""


def model_folder(manifest: Manifest, paths: RunPaths) -> Path:
    """The local folder of the language model. `fetch` names it relative to the store when it lies inside."""
    return paths.store.root / str(manifest.counts["model"])


def sample_corpus_folder(store: StorePaths) -> Path:
    """The folder in which `fetch` puts the files of the sample corpus."""
    return store.corpora / SAMPLE_CORPUS


def model_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a local model, of its text part when it has several, with the usual names of fields.

    Raises ModelError when it has none.
    """
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text())
        return {name: config[old] for name, old in OLD_NAMES.items() if old in config} | {
            **config,
            **config.get("text_config", {}),
        }
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no language model (no config.json): give a folder that was saved with save_pretrained"
        ) from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read ({error}): fetch or save the model again") from None


def fingerprint(files: Iterable[Path], folder: Path) -> str:
    """Changes when a file below `folder` is added, removed or written; reads names, sizes and times alone."""
    seen = []
    for file in files:
        status = file.stat()
        name = file.name if file == folder else file.relative_to(folder).as_posix()
        seen.append([name, status.st_size, status.st_mtime_ns])
    return digest({"files": seen})


def local_model(config: ModelConfig) -> Path | None:
    """The folder that `model.source` names, if it is one, and not an id of the Hub."""
    return local_folder(config.source, "model.source")


def local_folder(source: str, field: str) -> Path | None:
    """The folder that a field of the recipe names, if it is one, and not an id of the Hub. Raises ConfigError."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path.resolve()
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise ConfigError(f"{field}: there is no folder {path}: give a local folder, a Hub id, or 'sample'")
    return None


def gguf_alone(folder: Path) -> Path | None:
    """The GGUF file of a folder that holds no model in another format. Raises ModelError when there are several."""
    files = sorted(folder.glob("*.gguf"))
    if not files or any(folder.glob("*.safetensors")):
        return None
    if len(files) > 1:
        raise ModelError(f"{folder} holds {len(files)} GGUF files: leave the one to use, and move the others away")
    return files[0]


def check_folder(folder: Path) -> None:
    """Raise ModelError when the folder lacks what every local model has."""
    if problems := folder_problems(folder):
        raise ModelError("; ".join(problems))


def check_model_fits(recipe: Recipe, folder: Path) -> None:
    """Raise ConfigError when the recipe asks of the model what it has not."""
    if problems := misfits(recipe, model_config(folder), folder.name):
        raise ConfigError("; ".join(problems))


def misfits(recipe: Recipe, config: Mapping[str, Any], name: str) -> list[str]:
    """What the recipe asks of a model that it has not, by the model's config.json."""
    layers, length = config.get("num_hidden_layers"), config.get("max_position_embeddings")
    problems = []
    for layer in dict.fromkeys(place.layer for place in recipe.places):
        if isinstance(layers, int) and layer >= layers:
            field = "model.layer" if layer == recipe.model.layer else "layer"
            problems.append(f"{field}={layer} is out of range: {name} has layers 0 to {layers - 1}")
    if isinstance(length, int) and recipe.tokenize.context_length > length:
        problems.append(
            f"tokenize.context_length={recipe.tokenize.context_length} is longer than {name} reads: set it to "
            f"{length} or less"
        )
    return problems


def require_device(device: str) -> None:
    """Raise DeviceError when the device is not there."""
    try:
        check_device(device)
    except ModelError as error:
        raise DeviceError(str(error)) from None
