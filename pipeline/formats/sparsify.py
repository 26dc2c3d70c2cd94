"""sparsify of EleutherAI: `cfg.json` and `sae.safetensors`, TopK, in a folder named by its module (`layers.5`)."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from data.errors import FormatError
from pipeline.formats.exported import Exported, loosen
from pipeline.formats.files import Matrices, check_shapes, open_safetensors, read_config
from pipeline.formats.foreign import Foreign, Provenance
from pipeline.formats.weights import Weights

CONFIG_FILE, WEIGHTS_FILE, RUN_FILE = "cfg.json", "sae.safetensors", "config.json"
REFUSED = {
    "skip_connection": "has a skip connection",
    "transcode": "is a transcoder",
    "signed": "chooses by absolute values (signed)",
}
"""Options that change what the weights mean, and what an SAE with them is."""


def recognises(names: set[str]) -> bool:
    """Whether files of these names may be an SAE of this format."""
    return {CONFIG_FILE, WEIGHTS_FILE} <= names


def look(folder: Path) -> Foreign:
    """The SAE of a folder. Raises FormatError when it is of a kind that cannot be read."""
    config = read_config(folder / CONFIG_FILE)
    for option, what in REFUSED.items():
        if config.get(option):
            raise FormatError(f"{folder} {what}, which cannot be read: SAEs of sparsify without that can")
    if config.get("activation", "topk") != "topk":
        raise FormatError(f"{folder} has the activation '{config['activation']}', which cannot be read: topk can")
    width, k = _number(folder, config, "d_in"), _number(folder, config, "k")
    latents = config.get("num_latents") or width * int(config.get("expansion_factor", 32))
    provenance = _provenance(folder)
    return Foreign("sparsify", "topk", latents, width, partial(_read, folder, latents, width), k, provenance=provenance)


def _number(folder: Path, config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or value < 1:
        raise FormatError(f"{folder / CONFIG_FILE} gives no {name}, so it is no SAE of sparsify: save it again")
    return value


def _provenance(folder: Path) -> Provenance:
    """The hook by the folder's name; the rest by the configuration of the run beside it."""
    file = folder.parent / RUN_FILE
    run = read_config(file) if file.is_file() else {}
    return Provenance(run.get("model"), folder.name, run.get("ctx_len"), None, run.get("dataset"))


def _read(folder: Path, num_features: int, width: int) -> Weights:
    with open_safetensors(folder / WEIGHTS_FILE) as file:
        if "W_skip" in file.shapes:
            raise FormatError(f"{folder} {REFUSED['skip_connection']}, which cannot be read")
        weights = _plain(file, num_features, width)
    weights.subtract_from_input(weights.b_dec_D)
    weights.normalise_decoder(choose_by_raw=True)
    return weights


def _plain(file: Matrices, F: int, D: int) -> Weights:
    check_shapes(
        file.file, file.shapes, {"encoder.weight": (F, D), "W_dec": (F, D), "encoder.bias": (F,), "b_dec": (D,)}
    )
    if "W_dec" in file.shapes:
        W_dec_FD = file.matrix("W_dec")
    else:
        file.require("encoder.weight", "decoder.weight")
        W_dec_FD = file.matrix("decoder.weight", transposed=True)
    W_enc_FD, b_enc_F, b_dec_D = file.matrix("encoder.weight"), file.vector("encoder.bias"), file.vector("b_dec")
    return Weights(W_enc_FD, b_enc_F, W_dec_FD, b_dec_D, torch.zeros(F))


# ---- Ours, out


def write(exported: Exported, folder: Path) -> None:
    """Write the SAE as sparsify saves one. Raises FormatError for a JumpReLU, which TopK cannot stand for.

    A ReLU is TopK that chooses all features.
    """
    exported.require_plain("sparsify")
    sae, header = exported.sae, exported.sae.header
    if header.nonlinearity == "jumprelu":
        raise FormatError(f"{header.name} has a threshold for each feature, sparsify knows TopK alone: use saelens")
    loose = loosen(sae)
    tensors = {
        "encoder.weight": loose.W_enc_FD, "encoder.bias": loose.b_enc_F + loose.W_enc_FD @ sae.b_dec_D,
        "W_dec": loose.W_dec_FD, "b_dec": sae.b_dec_D,
    }  # fmt: skip
    save_file({name: one.contiguous() for name, one in tensors.items()}, folder / WEIGHTS_FILE)
    config = {
        "activation": "topk", "expansion_factor": max(1, header.num_features // header.width),
        "normalize_decoder": sae.selection_F is None, "num_latents": header.num_features,
        "k": header.k or header.num_features, "multi_topk": False, "skip_connection": False, "transcode": False,
        "d_in": header.width,
    }  # fmt: skip
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n")
