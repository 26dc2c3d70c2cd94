"""Where the stage `fetch` put things, and what it says of the files that a recipe names."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data.layout import RunPaths, StorePaths
from data.manifests import Manifest, digest
from pipeline.models.errors import ModelError

SAMPLE_MODEL = "smollm2-135m"
SAMPLE_CORPUS = "wikitext-2"


def model_folder(manifest: Manifest, paths: RunPaths) -> Path:
    """The local folder of the language model. `fetch` names it relative to the store when it lies inside."""
    return paths.store.root / str(manifest.counts["model"])


def sample_corpus_folder(store: StorePaths) -> Path:
    """Where `fetch` puts the files of the sample corpus."""
    return store.corpora / SAMPLE_CORPUS


def model_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a local model; of its text part, when it has several. Raises ModelError when it has none."""
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no language model (no config.json): give a folder that was saved with save_pretrained"
        ) from None
    except ValueError as error:
        raise ModelError(f"{path} cannot be read ({error}): fetch or save the model again") from None
    return {**config, **config.get("text_config", {})}


def fingerprint(files: Iterable[Path], folder: Path) -> str:
    """Changes when a file below `folder` is added, taken away or written; reads names, sizes and times alone."""
    seen = []
    for file in files:
        status = file.stat()
        name = file.name if file == folder else file.relative_to(folder).as_posix()
        seen.append([name, status.st_size, status.st_mtime_ns])
    return digest({"files": seen})
