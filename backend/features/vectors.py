"""The vectors of one feature as a file, read out of the weights of its SAE without loading them.

With x the residual stream at the SAE's layer, the feature's activation is encoder . x + bias where that is above
threshold, else 0 (TopK has no threshold: only the k highest of a token count), and it adds activation x decoder to the
reconstruction.

Shapes: D width of the residual stream, F features.
"""

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.exceptions import NotFoundError
from backend.published.catalogue import OpenSAE

MEDIA_TYPE = "application/zip"
WEIGHTS_FILE = "sae.safetensors"
TENSORS = {"decoder": "W_dec", "encoder": "W_enc", "bias": "b_enc", "threshold": "threshold"}
"""Arrays of the file, and the tensors of the weights that each is a row of."""


def feature_vectors(sae: OpenSAE, index: int) -> bytes:
    """decoder [D], encoder [D], bias and threshold [] of a feature, float32, as NumPy's npz.

    Raises NotFoundError where the weights are not on this machine.
    """
    path = sae.folder / WEIGHTS_FILE
    if not path.is_file():
        raise NotFoundError(
            f"The weights of '{sae.name}' are not on this machine: publish the run '{sae.run.name}' again."
        )
    header, start = _header(path)
    rows: dict[str, Any] = {name: _row(path, header[tensor], start, index) for name, tensor in TENSORS.items()}
    made = io.BytesIO()
    np.savez(made, **rows)
    return made.getvalue()


def file_name(sae: OpenSAE, index: int) -> str:
    """Its name when it is downloaded, e.g. smollm2-135m_14-relu-4096_7.npz."""
    return f"{sae.model}_{sae.name}_{index}.npz"


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The tensors of a safetensors file by name, and where their bytes start."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)), 8 + length


def _row(path: Path, tensor: dict[str, Any], start: int, index: int) -> npt.NDArray[np.float32]:
    """One row of a tensor [F, ...]."""
    assert tensor["dtype"] == "F32", "SAEs are saved in float32"
    shape = tensor["shape"][1:]
    size = math.prod(shape)
    offset = start + tensor["data_offsets"][0] + 4 * size * index
    return np.fromfile(path, "<f4", size, offset=offset).reshape(shape)
