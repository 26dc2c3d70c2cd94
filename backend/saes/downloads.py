"""Downloads of an SAE: its weights as they were published, and its features as parquet.

Parquet is made while it is sent: memory holds one batch of features, whatever the SAE's size.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from backend.published.catalogue import OpenSAE
from backend.published.features import DETAILS
from backend.published.neurons import NEURON_COLUMNS
from data import CONTRACT_VERSION

NOT_DOWNLOADED = {
    *("first_example", "first_reading", "num_readings", "x", "y"),
    *("first_neuron_example", "num_neuron_examples"),
    *("first_candidate", "num_candidates", "first_tried", "num_tried"),
}
PARQUET_COLUMNS = tuple(name for name in (*DETAILS, *NEURON_COLUMNS) if name not in NOT_DOWNLOADED)
"""Columns of the published features, except those that only the tables and the map need; `vector`, the decoder
direction, on request."""
VALUES_PER_BATCH = 1 << 21
"""Numbers of decoder vectors in one batch: 8 MiB."""
ROWS_PER_BATCH = 4096

WeightsFile = Literal["cfg.json", "sae.safetensors"]
MEDIA_TYPES: dict[WeightsFile, str] = {"cfg.json": "application/json", "sae.safetensors": "application/octet-stream"}
PARQUET_MEDIA_TYPE = "application/vnd.apache.parquet"


@dataclass(frozen=True)
class Download:
    """A file that pages offer."""

    title: str
    about: str
    href: str
    bytes: int | None
    """None where it is made while it is sent."""


def downloads(sae: OpenSAE) -> list[Download]:
    """All files of an SAE."""
    address, width = api_address(sae), sae.run.tables.width
    sizes = {name: (sae.folder / name).stat().st_size for name in MEDIA_TYPES}
    return [
        Download("Weights", "safetensors", f"{address}/sae.safetensors", sizes["sae.safetensors"]),
        Download("Configuration of the weights", "JSON", f"{address}/cfg.json", sizes["cfg.json"]),
        Download(
            "Features",
            "parquet: labels, statistics, effects, neurons, promoted tokens",
            f"{address}/features.parquet",
            None,
        ),
        Download(
            "Features with directions",
            f"parquet: the same and {width:,} numbers each, the decoder direction",
            f"{address}/features.parquet?vectors=true",
            None,
        ),
    ]


def api_address(sae: OpenSAE) -> str:
    """The address of an SAE in the API."""
    return f"/api/v1/saes/{sae.model}/{sae.name}"


def file_name(sae: OpenSAE, rest: str) -> str:
    """The name of an SAE's file when it is downloaded, e.g. smollm2-135m_14-relu-4096_cfg.json."""
    return f"{sae.model}_{sae.name}_{rest}"


def parquet_of(sae: OpenSAE, *, vectors: bool) -> Iterator[bytes]:
    """The features of an SAE in order of their index, as the bytes of one parquet file."""
    sink = _Sink()
    writer: pq.ParquetWriter | None = None
    for table in _batches(sae, vectors=vectors):
        if writer is None:
            schema = table.schema.with_metadata(_metadata(sae))
            writer = pq.ParquetWriter(sink, schema, compression="zstd")
        writer.write_table(table.cast(writer.schema), row_group_size=len(table))
        yield sink.take()
    assert writer is not None, "an SAE has features"
    writer.close()
    yield sink.take()


def _batches(sae: OpenSAE, *, vectors: bool) -> Iterator[pa.Table]:
    columns, rows = [*PARQUET_COLUMNS], ROWS_PER_BATCH
    if vectors:
        columns.append("vector")
        rows = max(1, min(rows, VALUES_PER_BATCH // sae.run.tables.width))
    for start in range(0, sae.num_features, rows):
        stop = min(start + rows, sae.num_features)
        yield sae.run.tables.take("features", range(sae.row(start), sae.row(stop)), columns)


def _metadata(sae: OpenSAE) -> dict[str, str]:
    """The file's metadata: its origin."""
    record = sae.run.record
    values = {
        "model": sae.model,
        "model_name": sae.run.model_name,
        "layer": record.layer,
        "hook": sae.run.hook,
        "sae": sae.name,
    }
    values |= {"run": sae.run.name, "key": record.key}
    values |= {"num_tokens": sae.run.num_tokens, "contract": CONTRACT_VERSION}
    return {f"monosema.{name}": str(value) for name, value in values.items()}


class _Sink(io.RawIOBase):
    """Collects the bytes that are written."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(memoryview(data))  # type: ignore[arg-type]
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        """The bytes that were written since the last call."""
        taken, self._parts = b"".join(self._parts), []
        return taken
