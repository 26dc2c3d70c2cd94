"""dictionary_learning: `config.json` and `ae.pt`, a state_dict of which nothing but tensors is read."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.errors import FormatError
from pipeline.formats.exported import Exported, loosen
from pipeline.formats.files import Matrices, check_shapes, open_pickle, read_config
from pipeline.formats.foreign import Foreign, Provenance
from pipeline.formats.hooks import submodule_name
from pipeline.formats.weights import Weights
from pipeline.models.sae import SAE

CONFIG_FILE, WEIGHTS_FILE = "config.json", "ae.pt"
CLASSES = {
    "AutoEncoder": "relu", "AutoEncoderNew": "relu", "GatedAutoEncoder": "gated", "AutoEncoderTopK": "topk",
    "JumpReluAutoEncoder": "jumprelu", "BatchTopKSAE": "batchtopk", "MatryoshkaBatchTopKSAE": "matryoshka",
}  # fmt: skip
DECODER_BIASES = ("b_dec", "bias", "decoder_bias", "decoder.bias")
"""Its names in the classes, one of which every class has."""
KEEP_INPUT = ("JumpReluAutoEncoder", "AutoEncoderNew")
"""Classes that do not take the decoder's bias off their input."""


def recognises(names: set[str]) -> bool:
    """Whether files of these names are an SAE of this format."""
    return WEIGHTS_FILE in names


def look(folder: Path) -> Foreign:
    """The SAE of a folder. Raises FormatError when it is of a kind that cannot be read."""
    config = read_config(folder / CONFIG_FILE)
    trainer, buffer = config.get("trainer") or {}, config.get("buffer") or {}
    kind = trainer.get("dict_class")
    if kind not in CLASSES:
        raise FormatError(f"{folder / CONFIG_FILE} names the class '{kind}'; these can be read: {', '.join(CLASSES)}")
    with open_pickle(folder / WEIGHTS_FILE) as file:
        num_features, width = _sizes(file)
        k = _k(file, trainer) if CLASSES[kind] == "topk" else None
    provenance = Provenance(trainer.get("lm_name"), _hook(trainer), buffer.get("ctx_len"), None, None)
    read = partial(_read, folder, kind, num_features, width)
    return Foreign("dictionary_learning", CLASSES[kind], num_features, width, read, k, provenance=provenance)


def _hook(trainer: Mapping[str, Any]) -> str | None:
    """Its submodule, where that has a name; else the layer, whose output it reads by custom."""
    name, layer = trainer.get("submodule_name"), trainer.get("layer")
    return name or (None if layer is None else str(layer))


def _sizes(file: Matrices) -> tuple[int, int]:
    """F and D."""
    if "W_enc" in file.shapes:
        width, num_features = file.shapes["W_enc"]
        return num_features, width
    file.require("encoder.weight")
    num_features, width = file.shapes["encoder.weight"]
    return num_features, width


def _k(file: Matrices, trainer: Mapping[str, Any]) -> int:
    k = int(file.vector("k")) if "k" in file.shapes else trainer.get("k")
    if not isinstance(k, int):
        raise FormatError(f"{file.file.parent / CONFIG_FILE} gives no k for its TopK: put it into `trainer`")
    return k


def _read(folder: Path, kind: str, F: int, D: int) -> Weights:
    with open_pickle(folder / WEIGHTS_FILE) as file:
        weights = _plain(file, kind, F, D)
    if kind not in KEEP_INPUT:
        weights.subtract_from_input(weights.b_dec_D)
    weights.normalise_decoder(choose_by_raw=CLASSES[kind] == "topk")
    return weights


def _plain(file: Matrices, kind: str, F: int, D: int) -> Weights:
    bias = next((name for name in DECODER_BIASES if name in file.shapes), "b_dec")
    check_shapes(file.file, file.shapes, {bias: (D,), "W_dec": (F, D), "decoder.weight": (D, F)})
    parameters = "W_enc" in file.shapes
    W_enc_FD = file.matrix("W_enc", transposed=True) if parameters else file.matrix("encoder.weight")
    W_dec_FD = file.matrix("W_dec") if parameters else file.matrix("decoder.weight", transposed=True)
    if kind == "GatedAutoEncoder":
        weights = Weights(W_enc_FD, file.vector("mag_bias"), W_dec_FD, file.vector(bias), torch.zeros(F))
        weights.gate(file.vector("gate_bias"), file.vector("r_mag"))
        return weights
    b_enc_F = file.vector("b_enc" if parameters else "encoder.bias")
    threshold_F = torch.zeros(F)
    if CLASSES[kind] in ("jumprelu", "batchtopk", "matryoshka"):
        threshold_F += file.vector("threshold")
    return Weights(W_enc_FD, b_enc_F, W_dec_FD, file.vector(bias), threshold_F)


# ---- Ours, out

WRITTEN = {"relu": "AutoEncoder", "jumprelu": "JumpReluAutoEncoder", "topk": "AutoEncoderTopK"}


def write(exported: Exported, folder: Path) -> None:
    """Write the SAE as dictionary_learning saves one. Raises FormatError where it cannot hold it."""
    exported.require_plain("dictionary_learning")
    header = exported.sae.header
    torch.save({name: one.contiguous() for name, one in _state(exported.sae).items()}, folder / WEIGHTS_FILE)
    trainer = {
        "dict_class": WRITTEN[header.nonlinearity], "activation_dim": header.width, "dict_size": header.num_features,
        "layer": header.layer, "lm_name": exported.model, "submodule_name": submodule_name(header.layer, exported.hook),
        **({"k": header.k} if header.k else {}),
    }  # fmt: skip
    config = {"trainer": trainer, "buffer": {"ctx_len": exported.context_length}}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n")


def _state(sae: SAE) -> dict[str, Tensor]:
    """The state_dict of the class. Classes of linear layers take the decoder's bias off their input."""
    if sae.header.nonlinearity == "jumprelu":
        return {
            "W_enc": sae.W_enc_FD.T, "b_enc": sae.b_enc_F, "W_dec": sae.W_dec_FD, "b_dec": sae.b_dec_D,
            "threshold": sae.threshold_F,
        }  # fmt: skip
    loose = loosen(sae)
    linear = {
        "encoder.weight": loose.W_enc_FD, "encoder.bias": loose.b_enc_F + loose.W_enc_FD @ sae.b_dec_D,
        "decoder.weight": loose.W_dec_FD.T,
    }  # fmt: skip
    if sae.header.nonlinearity == "relu":
        return {**linear, "bias": sae.b_dec_D}
    return {
        **linear,
        "b_dec": sae.b_dec_D,
        "k": torch.tensor(sae.header.k, dtype=torch.int),
        "threshold": torch.tensor(-1.0),
    }
