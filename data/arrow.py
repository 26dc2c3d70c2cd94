"""Arrow files: the tables of artifacts, written in batches and read by memory map."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from data.errors import ArtifactError


def write_arrow(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write an Arrow IPC file from a stream of batches."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def read_arrow(path: Path) -> pa.Table:
    """A whole Arrow IPC file, memory-mapped: opening costs nothing and reading touches what is read.

    Raises ArtifactError when it is missing or damaged.
    """
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): delete its folder and run the stage again") from None
