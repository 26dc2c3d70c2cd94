"""Reads the answers of /api/v1/map as its description says, for tests and benchmarks."""

import json
import struct
from typing import Any

import numpy as np


def read_answer(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of an answer; the arrays also have `sae`, the name of the SAE of each place."""
    (length,) = struct.unpack_from("<I", content)
    header = json.loads(content[4 : 4 + length])
    total, offset, arrays = sum(sae["count"] for sae in header["saes"]), 4 + length, {}
    for name, kind in header["arrays"]:
        dtype = np.dtype(kind).newbyteorder("<")
        arrays[name] = np.frombuffer(content, dtype, total, offset)
        offset += total * dtype.itemsize
    assert offset == len(content)
    arrays["sae"] = np.repeat([sae["sae"] for sae in header["saes"]], [sae["count"] for sae in header["saes"]])
    return header, arrays
