"""Codes of the cells of a square in Morton or Z order: the bits of column and row in turn."""

from typing import Any, cast

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint32]


def interleave(column: npt.NDArray[Any], row: npt.NDArray[Any]) -> Codes:
    """Codes of cells."""
    return cast(Codes, _spread(column) | _spread(row) << np.uint32(1))


def separate(code: Codes) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Columns and rows of cells by code."""
    return _gather(code), _gather(code >> np.uint32(1))


def _spread(number: npt.NDArray[Any]) -> Codes:
    """Bits of 16 to every other place of 32."""
    bits = number.astype(np.uint32)
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        bits = (bits | bits << np.uint32(shift)) & np.uint32(mask)
    return bits


def _gather(code: Codes) -> npt.NDArray[np.uint16]:
    """Every other bit of 32, from the lowest."""
    bits = code & np.uint32(0x55555555)
    for shift, mask in ((1, 0x33333333), (2, 0x0F0F0F0F), (4, 0x00FF00FF), (8, 0x0000FFFF)):
        bits = (bits | bits >> np.uint32(shift)) & np.uint32(mask)
    return bits.astype(np.uint16)
