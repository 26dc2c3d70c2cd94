"""SAELens: `cfg.json` and `sae_weights.safetensors`, of its versions 3 to 6.

Of a folder that its training left, what it scaled or whitened activations by is read, too
(`activation_scaler.json`, `activation_whitening.safetensors`).
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from data.errors import FormatError
from pipeline.formats.exported import Exported, loosen
from pipeline.formats.files import Matrices, check_shapes, open_safetensors, read_config
from pipeline.formats.foreign import Foreign, Provenance
from pipeline.formats.hooks import hook_name
from pipeline.formats.weights import Weights
from pipeline.models.standardise import Normalisation

CONFIG_FILE, WEIGHTS_FILE, SPARSITY_FILE = "cfg.json", "sae_weights.safetensors", "sparsity.safetensors"
SCALER_FILE, WHITENING_FILE = "activation_scaler.json", "activation_whitening.safetensors"
ARCHITECTURES = {
    "standard": "relu", "topk": "topk", "jumprelu": "jumprelu", "gated": "gated", "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "matryoshka",
}  # fmt: skip
"""Names of SAELens and ours. It saves the last two as jumprelu when they are trained, and as themselves before that."""
OLD_NAMES = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
NORMALISATIONS: dict[str, Normalisation] = {
    "none": "none", "expected_average_only_in": "none", "covariance_whitening": "none", "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm",
}  # fmt: skip


def recognises(names: set[str]) -> bool:
    """Whether files of these names are an SAE of this format."""
    return {CONFIG_FILE, WEIGHTS_FILE} <= names


def look(folder: Path) -> Foreign:
    """The SAE of a folder. Raises FormatError when it is of a kind that cannot be read."""
    config = _config(folder)
    architecture, normalise = _architecture(folder, config), _normalisation(folder, config)
    num_features, width = _size(folder, config, "d_sae"), _size(folder, config, "d_in")
    return Foreign(
        "saelens",
        architecture,
        num_features,
        width,
        partial(_read, folder, config, architecture),
        k=_size(folder, config, "k") if architecture == "topk" else None,
        normalisation=NORMALISATIONS[normalise],
        needs_scale=normalise == "expected_average_only_in" and _trained_scale(folder) is None,
        provenance=_provenance(config),
    )


# ---- The configuration


def _config(folder: Path) -> dict[str, Any]:
    """The configuration with the names of version 6, what it says of the language model among the rest."""
    raw = {OLD_NAMES.get(name, name): value for name, value in read_config(folder / CONFIG_FILE).items()}
    config = {**raw, **(raw.get("metadata") or {})}
    arguments = config.get("activation_fn_kwargs") or {}
    if config.get("activation_fn") == "topk" and config.get("architecture", "standard") in ("standard", "topk"):
        config["architecture"], config["k"] = "topk", arguments.get("k", config.get("k"))
    return config


def _architecture(folder: Path, config: Mapping[str, Any]) -> str:
    name = config.get("architecture", "standard")
    if name not in ARCHITECTURES:
        kind = "a transcoder" if "transcoder" in str(name) else f"of the architecture '{name}'"
        raise FormatError(f"{folder} is {kind} of SAELens; these can be read: {', '.join(ARCHITECTURES)}")
    function = config.get("activation_fn", "relu")
    if function not in ("relu", "topk"):
        raise FormatError(f"{folder} has the activation function '{function}', which cannot be read: relu and topk can")
    if config.get("hook_head_index") is not None or config.get("reshape_activations", "none") != "none":
        raise FormatError(f"{folder} reads single attention heads, not the residual stream: such SAEs cannot be read")
    return ARCHITECTURES[name]


def _normalisation(folder: Path, config: Mapping[str, Any]) -> str:
    value = config.get("normalize_activations")
    if isinstance(value, bool) or value is None:
        value = "expected_average_only_in" if value else "none"
    if value not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise FormatError(f"{folder} has normalize_activations='{value}', which cannot be read; these can: {known}")
    return str(value)


def _size(folder: Path, config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or value < 1:
        raise FormatError(f"{folder / CONFIG_FILE} gives no {name}, so the SAE cannot be read: save the SAE again")
    return value


def _provenance(config: Mapping[str, Any]) -> Provenance:
    before_6 = "metadata" not in config
    return Provenance(
        config.get("model_name"),
        config.get("hook_name"),
        config.get("context_size"),
        config.get("prepend_bos", True if before_6 else None),
        config.get("dataset_path"),
    )


def _trained_scale(folder: Path) -> float | None:
    """The factor by which training scaled activations, where it left it beside the weights."""
    if not (folder / SCALER_FILE).is_file():
        return None
    factor = read_config(folder / SCALER_FILE).get("scaling_factor")
    return float(factor) if factor else None


# ---- The weights


def _read(folder: Path, config: Mapping[str, Any], architecture: str) -> Weights:
    F, D = int(config["d_sae"]), int(config["d_in"])
    with open_safetensors(folder / WEIGHTS_FILE) as file:
        check_shapes(file.file, file.shapes, {"W_enc": (D, F), "W_dec": (F, D), "b_dec": (D,), "b_enc": (F,)})
        weights = _plain(file, architecture, F)
        rescaled = bool(config.get("rescale_acts_by_decoder_norm", False)) and _chooses(architecture)
        if rescaled:
            weights.lengthen()
        _finetune(file, config, weights)
    if config.get("apply_b_dec_to_input", True):
        weights.subtract_from_input(weights.b_dec_D)
    _undo_normalisation(folder, config, weights)
    weights.normalise_decoder(choose_by_raw=architecture == "topk")
    return weights


def _chooses(architecture: str) -> bool:
    """Whether training chose the highest values, by their length in the stream where it says so."""
    return architecture in ("topk", "batchtopk", "matryoshka")


def _plain(file: Matrices, architecture: str, num_features: int) -> Weights:
    W_enc_FD, W_dec_FD, b_dec_D = file.matrix("W_enc", transposed=True), file.matrix("W_dec"), file.vector("b_dec")
    b_enc_F = file.vector("b_mag" if architecture == "gated" else "b_enc")
    weights = Weights(W_enc_FD, b_enc_F, W_dec_FD, b_dec_D, torch.zeros(num_features))
    if architecture == "gated":
        weights.gate(file.vector("b_gate"), file.vector("r_mag"))
    elif architecture == "jumprelu":
        weights.threshold_F.copy_(_threshold(file))
    elif architecture in ("batchtopk", "matryoshka"):
        weights.threshold_F.fill_(float(file.vector("topk_threshold")))
    return weights


def _threshold(file: Matrices) -> Tensor:
    if "log_threshold" in file.shapes and "threshold" not in file.shapes:
        return file.vector("log_threshold").exp()
    return file.vector("threshold")


def _finetune(file: Matrices, config: Mapping[str, Any], weights: Weights) -> None:
    """The factor by which fine-tuning lengthened what each feature writes; ones stand for none."""
    name = next((name for name in ("finetuning_scaling_factor", "scaling_factor") if name in file.shapes), None)
    if name is None or bool(((factor_F := file.vector(name)) == 1).all()):
        return
    if not config.get("finetuning_scaling_factor"):
        raise FormatError(
            f"{file.file} has a {name}, which its cfg.json does not use (finetuning_scaling_factor): set that to true "
            "where the SAE was fine-tuned, or take the factor out"
        )
    weights.scale_decoded(factor_F)


def _undo_normalisation(folder: Path, config: Mapping[str, Any], weights: Weights) -> None:
    kind = _normalisation(folder, config)
    if kind == "expected_average_only_in" and (factor := _trained_scale(folder)) is not None:
        weights.scale_input(factor)
    if kind == "covariance_whitening":
        with open_safetensors(folder / WHITENING_FILE) as file:
            weights.whiten_input(*(file.vector(name) for name in ("mean", "matrix", "inverse_matrix")))


# ---- Ours, out

VERSION = "6.0.0"
"""Of the layout that is written."""


def write(exported: Exported, folder: Path) -> None:
    """Write the SAE as SAELens 6 saves one for use, with its sparsity."""
    sae, header = exported.sae, exported.sae.header
    loose = loosen(sae)
    tensors = {"W_enc": loose.W_enc_FD.T, "b_enc": loose.b_enc_F, "W_dec": loose.W_dec_FD, "b_dec": sae.b_dec_D}
    if header.nonlinearity == "jumprelu":
        tensors["threshold"] = sae.threshold_F
    save_file({name: one.contiguous() for name, one in tensors.items()}, folder / WEIGHTS_FILE)
    save_file({"sparsity": exported.log_density_F}, folder / SPARSITY_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(_written_config(exported), indent=1) + "\n")


def _written_config(exported: Exported) -> dict[str, Any]:
    header = exported.sae.header
    own = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk"}
    normalise = next(name for name, kind in NORMALISATIONS.items() if kind == header.normalisation)
    chosen = {"k": header.k, "rescale_acts_by_decoder_norm": False} if header.nonlinearity == "topk" else {}
    return {
        "architecture": own[header.nonlinearity],
        "d_in": header.width,
        "d_sae": header.num_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": normalise,
        "reshape_activations": "none",
        **chosen,
        "metadata": {
            "sae_lens_version": VERSION,
            "sae_lens_training_version": None,
            "model_name": exported.model,
            "hook_name": hook_name(header.layer, exported.hook),
            "context_size": exported.context_length,
            "prepend_bos": exported.prepend_bos,
            "dataset_path": exported.corpus,
        },
    }
