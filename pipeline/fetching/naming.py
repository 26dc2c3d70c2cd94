"""What a language model is called, by its files and where they come from.

`model.name` of a recipe is only the model's part of addresses. A model that was converted says what it was before in
`origin.json` beside its weights; one converted before there was such a file is known by the name of its GGUF file.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from data.manifests import Manifest
from pipeline.fetching.local import SAMPLE_FILE, gguf_alone, local_model, model_config
from pipeline.fetching.wheels import SAMPLE_MODEL_WHEEL
from pipeline.recipe import ModelConfig

ORIGIN_FILE = "origin.json"
_QUANTISED = re.compile(r"[-._](I?Q\d[A-Z0-9_]*)$", re.IGNORECASE)
"""How the name of a GGUF file says its quantisation, before its suffix."""
_PRECISION = re.compile(r"[-._](B?F16|F32)$", re.IGNORECASE)
_HUB_ID = re.compile(r"[\w.-]*\w/\w[\w.-]*")


class ModelIdentity(NamedTuple):
    """Which model it is."""

    name: str
    """As its makers call it, e.g. SmolLM2-135M-Instruct, or its id on the Hub."""
    quantisation: str
    """Of the weights before they were made bfloat16 again, as the GGUF file says it; "" when they never were."""
    origin: str
    """The file or address that it comes from."""

    @property
    def title(self) -> str:
        """What people are shown."""
        return f"{self.name} ({self.quantisation}, dequantised)" if self.quantisation else self.name

    def counts(self) -> dict[str, str]:
        """The same for the manifest of `fetch`."""
        return {"model_name": self.title, "model_quantisation": self.quantisation, "model_origin": self.origin}


def identify(config: ModelConfig, folder: Path) -> ModelIdentity:
    """The model of a recipe, which lies in `folder`."""
    local = None if config.source == "sample" else local_model(config)
    if config.source == "sample":
        package = f", package {SAMPLE_MODEL_WHEEL.name} {SAMPLE_MODEL_WHEEL.version}"
        return _of_gguf(SAMPLE_FILE, folder, package)
    if local is None:
        revision = f" at {config.revision}" if config.revision else ""
        return ModelIdentity(config.source, "", f"https://huggingface.co/{config.source}{revision}")
    gguf = gguf_alone(local)
    if gguf is not None:
        return _of_gguf(gguf.name, folder)
    named = str(model_config(local).get("_name_or_path", ""))
    return ModelIdentity(named if _HUB_ID.fullmatch(named) else local.name, "", local.name)


def fetched_counts(manifest: Manifest, config: ModelConfig, folder: Path) -> dict[str, Any]:
    """The counts of `fetch`, with the model's identity where an earlier version of the code did not record it."""
    return {**identify(config, folder).counts(), **manifest.counts}


def write_origin(folder: Path, file: Path, quantisation: str) -> None:
    """Say beside a converted model what it was."""
    (folder / ORIGIN_FILE).write_text(json.dumps({"file": file.name, "quantisation": quantisation}) + "\n")


def _of_gguf(name: str, folder: Path, package: str = "") -> ModelIdentity:
    """By the name of the file, and by what the file said when it was converted. package: where the file is from."""
    stem = name.removesuffix(".gguf")
    said = _QUANTISED.search(stem)
    origin = folder / ORIGIN_FILE
    quantisation = json.loads(origin.read_text())["quantisation"] if origin.is_file() else said and said[1].upper()
    return ModelIdentity(_PRECISION.sub("", _QUANTISED.sub("", stem)), quantisation or "", name + package)
