"""SAEs of our own: `cfg.json` and `sae.safetensors` (see pipeline/models/sae.py)."""

from functools import partial
from pathlib import Path

from data.errors import FormatError
from data.hooks import HOOKS, hook_address
from pipeline.formats.files import read_config
from pipeline.formats.foreign import NONLINEARITY, Foreign, Provenance
from pipeline.formats.weights import Weights
from pipeline.models.errors import ModelError
from pipeline.models.sae import HEADER_FILE, SAE, WEIGHTS_FILE, load_header

MARK = "format_version"
"""A field of our header; sparsify names its files as we do."""


def recognises(names: set[str]) -> bool:
    """Whether files of these names may be an SAE of this format."""
    return {HEADER_FILE, WEIGHTS_FILE} <= names


def is_ours(folder: Path) -> bool:
    """Whether a folder with files of these names is of this format."""
    return MARK in read_config(folder / HEADER_FILE)


def look(folder: Path) -> Foreign:
    """The SAE of a folder. Raises FormatError when it cannot be read."""
    try:
        header = load_header(folder)
    except ModelError as error:
        raise FormatError(str(error)) from None
    if header.architecture not in NONLINEARITY:
        raise FormatError(f"{folder} has the architecture '{header.architecture}', which is not known here")
    hook = next((hook for hook in HOOKS if hook == header.hook), None)
    if hook is None:
        raise FormatError(f"{folder} reads the hook '{header.hook}', which is not known here")
    return Foreign(
        "monosema", header.architecture, header.num_features, header.width, partial(_read, folder), header.k,
        header.normalisation, provenance=Provenance(header.model, hook_address(header.layer, hook)),
    )  # fmt: skip


def _read(folder: Path) -> Weights:
    try:
        sae = SAE.load(folder)
    except ModelError as error:
        raise FormatError(str(error)) from None
    return Weights(sae.W_enc_FD, sae.b_enc_F, sae.W_dec_FD, sae.b_dec_D, sae.threshold_F, sae.selection_F)
