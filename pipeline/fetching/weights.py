"""What a folder's model is, by content: the same wherever the folder lies and whenever it was written.

Reading all weights takes as long as a disk does; parts of every tensor tell two models apart, for training changes
nearly every number.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PART_BYTES = 4096
SMALL_FILES = ("*.json", "*.jinja", "*.model")
"""Settings, tokenizer and chat template, which are read as a whole."""


def content_fingerprint(folder: Path) -> str:
    """A hash of a model's small files, and of the beginning, middle and end of each tensor in its safetensors files."""
    found = hashlib.sha256()
    for file in sorted(path for pattern in SMALL_FILES for path in folder.glob(pattern)):
        found.update(f"{file.name} {file.stat().st_size}\n".encode())
        found.update(file.read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        found.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            for part in _parts(stream):
                found.update(part)
    return found.hexdigest()[:32]


def _parts(stream: BinaryIO) -> Iterator[bytes]:
    """The header of a safetensors file, and parts of each tensor."""
    size = int.from_bytes(stream.read(8), "little")
    header = stream.read(size)
    yield header
    for name, tensor in json.loads(header).items():
        if name == "__metadata__":
            continue
        start, stop = tensor["data_offsets"]
        for place in (start, (start + stop) // 2, max(start, stop - PART_BYTES)):
            stream.seek(8 + size + place)
            yield stream.read(min(PART_BYTES, stop - place))
