"""Gemma Scope: `params.npz`; and Gemma Scope 2: `config.json` and `params.safetensors`. JumpReLU."""

import re
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from data.errors import FormatError
from pipeline.formats.files import AGAIN, Matrices, check_shapes, open_npz, open_safetensors, read_config
from pipeline.formats.foreign import Foreign, Provenance
from pipeline.formats.weights import Weights

FIRST_FILE, SECOND_FILE, CONFIG_FILE = "params.npz", "params.safetensors", "config.json"
MODELS = re.compile(r"gemma-scope-(\d+b)-(pt|it)", re.IGNORECASE)
PLACES = {"-mlp": "hook_mlp_out", "-att": "attn.hook_z", "transcoder": "a transcoder"}
"""Parts of a repository's name that say another place than the residual stream."""
CONTEXT_LENGTH, CORPUS = 1024, "monology/pile-uncopyrighted"


def recognises(names: set[str]) -> bool:
    """Whether files of these names are an SAE of this format."""
    return FIRST_FILE in names or SECOND_FILE in names


def look(folder: Path) -> Foreign:
    """The SAE of a folder. Raises FormatError when it is of a kind that cannot be read."""
    with _open(folder) as file:
        names = {name.lower(): name for name in file.shapes}
        if "affine_skip_connection" in names:
            raise FormatError(f"{folder} is a transcoder with a skip connection, which cannot be read")
        if len(shape := file.shapes.get(names.get("w_enc", ""), ())) != 2:
            raise FormatError(f"{file.file} has no matrix W_enc: {AGAIN}")
    width, num_features = shape
    read = partial(_read, folder, num_features, width)
    return Foreign("gemma_scope", "jumprelu", num_features, width, read, provenance=_provenance(folder))


def _open(folder: Path) -> AbstractContextManager[Matrices]:
    first = folder / FIRST_FILE
    return open_npz(first) if first.is_file() else open_safetensors(folder / SECOND_FILE)


def _provenance(folder: Path) -> Provenance:
    """By the configuration where there is one, else by the names of the folders."""
    path = folder.as_posix()
    if (folder / CONFIG_FILE).is_file():
        config = read_config(folder / CONFIG_FILE)
        read, written = (config.get(f"hf_hook_point_{end}") for end in ("in", "out"))
        if written not in (None, read):
            raise FormatError(f"{folder} is a transcoder (it writes {written}), which cannot be read")
        return Provenance(
            _second_model(str(config.get("model_name", ""))),
            read,
            CONTEXT_LENGTH,
            True,
            CORPUS,
        )
    place = next((place for part, place in PLACES.items() if part in path), None)
    layer, model = re.search(r"layer_(\d+)", path), MODELS.search(path)
    hook = f"blocks.{layer[1]}.{place}" if place and layer else place or (layer and layer[1])
    return Provenance(_model(model[1], model[2]) if model else None, hook, CONTEXT_LENGTH, True, CORPUS)


def _second_model(name: str) -> str | None:
    """Its Hub id."""
    return (name if "/" in name else f"google/{name.replace('-v3', '-3')}") if name else None


def _model(size: str, kind: str) -> str:
    return f"google/gemma-2-{size.lower()}{'-it' if kind.lower() == 'it' else ''}"


def _read(folder: Path, F: int, D: int) -> Weights:
    with _open(folder) as file:
        names = {name.lower(): name for name in file.shapes}
        for wanted in ("w_enc", "w_dec", "b_enc", "b_dec", "threshold"):
            if wanted not in names:
                file.require(wanted)
        shapes = {names["w_dec"]: (F, D), names["b_enc"]: (F,), names["b_dec"]: (D,), names["threshold"]: (F,)}
        check_shapes(file.file, file.shapes, shapes)
        W_enc_FD, W_dec_FD = file.matrix(names["w_enc"], transposed=True), file.matrix(names["w_dec"])
        weights = Weights(
            W_enc_FD, *(file.vector(names["b_enc"]), W_dec_FD), *map(file.vector, (names["b_dec"], names["threshold"]))
        )
    weights.normalise_decoder()
    return weights
