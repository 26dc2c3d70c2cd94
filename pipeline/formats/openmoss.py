"""OpenMOSS (Language-Model-SAEs) and Llama Scope.

`hyperparams.json` with `checkpoints/final.safetensors`, or `config.json` with `sae_weights.safetensors`.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from data.errors import FormatError
from pipeline.formats.files import Matrices, check_shapes, open_safetensors, read_config
from pipeline.formats.foreign import Foreign, Provenance
from pipeline.formats.weights import Weights
from pipeline.models.standardise import Normalisation

LAYOUTS = {"hyperparams.json": "checkpoints/final.safetensors", "config.json": "sae_weights.safetensors"}
"""Configurations, and the weights that go with each."""
FUNCTIONS = ("relu", "jumprelu", "topk")
NORMALISATIONS: dict[str, Normalisation] = {
    "token-wise": "constant_norm", "dataset-wise": "none", "inference": "none", "none": "none",
}  # fmt: skip
MEAN_NORM = "dataset_average_activation_norm"
MODELS = {r"Llama3_1-8B": "meta-llama/Llama-3.1-8B", r"R1-Distill": "meta-llama/Llama-3.1-8B"}
"""Parts of paths that tell the model, which the configuration does not."""


def recognises(names: set[str]) -> bool:
    """Whether files of these names may be an SAE of this format."""
    return any({config, weights} <= names for config, weights in LAYOUTS.items())


def look(folder: Path) -> Foreign:
    """The SAE of a folder. Raises FormatError when it is of a kind that cannot be read."""
    name = next(name for name in LAYOUTS if (folder / name).is_file())
    config = read_config(folder / name)
    _check(folder, config)
    with open_safetensors(folder / LAYOUTS[name]) as file:
        file.require("encoder.weight", "decoder.weight")
        num_features, width = file.shapes["encoder.weight"]
        scale = _scale(config, file, width)
    architecture = str(config.get("act_fn", "jumprelu")).lower()
    read = partial(_read, folder / LAYOUTS[name], config, architecture, scale)
    return Foreign(
        "openmoss", architecture, num_features, width, read,
        k=int(config["top_k"]) if architecture == "topk" else None,
        normalisation=NORMALISATIONS[config.get("norm_activation", "dataset-wise")],
        needs_scale=config.get("norm_activation", "dataset-wise") == "dataset-wise" and scale is None,
        provenance=_provenance(folder, config),
    )  # fmt: skip


def _check(folder: Path, config: Mapping[str, Any]) -> None:
    if config.get("act_fn", "jumprelu").lower() not in FUNCTIONS:
        raise FormatError(f"{folder} has act_fn='{config['act_fn']}', which cannot be read: {', '.join(FUNCTIONS)} can")
    if config.get("use_glu_encoder"):
        raise FormatError(f"{folder} has a gated linear encoder (use_glu_encoder), which cannot be read")
    if config.get("norm_activation", "dataset-wise") not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise FormatError(f"{folder} has norm_activation='{config['norm_activation']}'; these can be read: {known}")
    if config.get("hook_point_out", config.get("hook_point_in")) != config.get("hook_point_in"):
        raise FormatError(f"{folder} is a transcoder (it writes {config['hook_point_out']}), which cannot be read")


def _scale(config: Mapping[str, Any], file: Matrices, width: int) -> float | None:
    """The factor of activations in training, by the mean norm that the files name; None where they name none."""
    if config.get("norm_activation", "dataset-wise") != "dataset-wise":
        return 1.0
    hook = config.get("hook_point_in")
    norms = config.get(MEAN_NORM) or {}
    norm = norms.get("in", norms.get(hook))
    if norm is None and f"{MEAN_NORM}.{hook}" in file.shapes:
        norm = float(file.vector(f"{MEAN_NORM}.{hook}"))
    return None if norm is None else float(width**0.5 / norm)


def _provenance(folder: Path, config: Mapping[str, Any]) -> Provenance:
    model = next((model for part, model in MODELS.items() if re.search(part, folder.as_posix(), re.IGNORECASE)), None)
    return Provenance(config.get("model_name", model), config.get("hook_point_in"), None, True, None)


def _read(path: Path, config: Mapping[str, Any], architecture: str, scale: float | None) -> Weights:
    by_length = bool(config.get("sparsity_include_decoder_norm", False))
    with open_safetensors(path) as file:
        F, D = file.shapes["encoder.weight"]
        shapes = {"decoder.weight": (D, F), "encoder.bias": (F,), "decoder.bias": (D,), "log_jumprelu_threshold": (F,)}
        check_shapes(path, file.shapes, shapes)
        has_bias = config.get("use_decoder_bias", True)
        weights = Weights(
            file.matrix("encoder.weight"), file.vector("encoder.bias"), file.matrix("decoder.weight", transposed=True),
            file.vector("decoder.bias") if has_bias else torch.zeros(D), torch.zeros(F),
        )  # fmt: skip
        if by_length:
            weights.lengthen()
        if architecture == "jumprelu":
            _take_threshold(weights, file, config, scale or 1.0)
    if has_bias and config.get("apply_decoder_bias_to_pre_encoder", False):
        weights.subtract_from_input(weights.b_dec_D)
    weights.scale_input(scale or 1.0)
    weights.normalise_decoder(choose_by_raw=architecture == "topk")
    return weights


def _take_threshold(weights: Weights, file: Matrices, config: Mapping[str, Any], scale: float) -> None:
    """That of each feature is of what training saw; the one for all, of Llama Scope, is of the stream itself."""
    if "log_jumprelu_threshold" in file.shapes:
        weights.threshold_F.copy_(file.vector("log_jumprelu_threshold").exp())
    elif "jump_relu_threshold" in config:
        weights.threshold_F.fill_(float(config["jump_relu_threshold"]) * scale)
    else:
        file.require("log_jumprelu_threshold")
