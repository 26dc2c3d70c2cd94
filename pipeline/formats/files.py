"""Files of foreign SAEs: JSON, safetensors, NumPy archives, and pickles of which nothing but tensors is read.

Every reader raises FormatError, with what to do, for a file that is missing, cut off, or not what its name says.
"""

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from data.errors import FormatError
from pipeline.fetching.contents import weights_problem

TILE = 4096
"""Rows or columns of a matrix that are converted at once."""
AGAIN = "fetch or save the SAE again"
OTHER_THINGS = ("Unsupported", "GLOBAL", "global")
"""Words of torch where a pickle asks for more than tensors."""


def read_config(file: Path) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(f"{file.parent} has no {file.name}: {AGAIN}") from None
    except (OSError, ValueError) as error:
        raise FormatError(f"{file} cannot be read ({error}): {AGAIN}") from None
    if not isinstance(found, dict):
        raise FormatError(f"{file} holds no JSON object: {AGAIN}")
    return found


class Matrices(NamedTuple):
    """Tensors of a file by name; each is read when it is asked for."""

    file: Path
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Any]
    """The tensor itself, or one of its slices: both take `[rows, columns]` and give a tensor."""

    def require(self, *names: str) -> None:
        """Raise FormatError when one is not there."""
        if missing := [name for name in names if name not in self.shapes]:
            held = ", ".join(sorted(self.shapes)) or "nothing"
            raise FormatError(f"{self.file} lacks {', '.join(missing)} (it holds {held}): {AGAIN}")

    def vector(self, name: str) -> Tensor:
        """A copy of one tensor, float32."""
        self.require(name)
        return torch.as_tensor(self.read(name)[...]).to(torch.float32, copy=True)

    def matrix(self, name: str, *, transposed: bool = False) -> Tensor:
        """A copy of a matrix, float32 and contiguous, made tile by tile."""
        self.require(name)
        if len(self.shapes[name]) != 2:
            raise FormatError(f"{self.file}: {name} has shape {list(self.shapes[name])}, not that of a matrix: {AGAIN}")
        source, (rows, columns) = self.read(name), self.shapes[name]
        target = torch.empty((columns, rows) if transposed else (rows, columns))
        for start in range(0, len(target), TILE):
            part = slice(start, start + TILE)
            target[part] = torch.as_tensor(source[:, part]).T if transposed else torch.as_tensor(source[part])
        return target


@contextmanager
def open_safetensors(file: Path) -> Iterator[Matrices]:
    """The tensors of a safetensors file."""
    if not file.is_file():
        raise FormatError(f"{file.parent} has no {file.name}: {AGAIN}")
    if problem := weights_problem(file):
        raise FormatError(problem)
    try:
        with safe_open(file, framework="pt") as opened:
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
            yield Matrices(
                file, shapes, lambda name: opened.get_slice(name) if shapes[name] else opened.get_tensor(name)
            )
    except (OSError, SafetensorError) as error:
        raise FormatError(f"{file} cannot be read ({error}): {AGAIN}") from None


@contextmanager
def open_pickle(file: Path) -> Iterator[Matrices]:
    """The tensors of a file of torch.save. Whatever else one may hold is refused unread, for it can run code."""
    if not file.is_file():
        raise FormatError(f"{file.parent} has no {file.name}: {AGAIN}")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        if not any(word in str(error) for word in OTHER_THINGS):
            raise FormatError(f"{file} is cut off, or no file of torch.save: {AGAIN}") from None
        raise FormatError(
            f"{file} holds more than tensors, which can run code when it is read, so it was not: save its state_dict "
            "alone (torch.save(sae.state_dict(), ...)), or as safetensors"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise FormatError(f"{file} is cut off, or no file of torch.save ({error}): {AGAIN}") from None
    tensors = {name: one for name, one in found.items() if isinstance(one, Tensor)} if isinstance(found, dict) else {}
    if not tensors:
        raise FormatError(f"{file} holds no tensors by name (a state_dict): {AGAIN}")
    yield Matrices(file, {name: tuple(one.shape) for name, one in tensors.items()}, tensors.__getitem__)


@contextmanager
def open_npz(file: Path) -> Iterator[Matrices]:
    """The arrays of a NumPy archive; objects in it, which can run code, are refused unread."""
    if not file.is_file():
        raise FormatError(f"{file.parent} has no {file.name}: {AGAIN}")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            read = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(f"{file} is cut off, or no NumPy archive of numbers alone ({error}): {AGAIN}") from None
    yield Matrices(file, {name: one.shape for name, one in read.items()}, read.__getitem__)


def check_shapes(file: Path, found: Mapping[str, Sequence[int]], wanted: Mapping[str, Sequence[int]]) -> None:
    """Raise FormatError when a tensor has another shape than the configuration says."""
    for name, shape in wanted.items():
        if name in found and tuple(found[name]) != tuple(shape):
            raise FormatError(
                f"{file}: {name} has shape {list(found[name])}, its configuration says {list(shape)}: {AGAIN}"
            )
