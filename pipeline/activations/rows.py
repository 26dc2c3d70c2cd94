"""Harvested rows as they are read: whole shards, and batches across their borders."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.artifacts.shards import ShardReader
from data.layout import RunPaths
from data.manifests import require_stage


def harvested_rows(paths: RunPaths) -> ShardReader:
    """The activation shards of a run. Raises ArtifactError when they are missing, damaged or of another run."""
    manifest = require_stage(paths, "harvest")
    counts = manifest.counts
    rows_per_shard = tuple(counts["rows_per_shard"])
    return ShardReader(paths.stage("harvest"), manifest.key, counts["width"], counts["storage"], rows_per_shard)


def as_tensor(values_ND: npt.NDArray[np.uint16]) -> Tensor:
    """Stored bfloat16 bits as a bfloat16 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values_ND).view(np.int16)).view(torch.bfloat16)


class ShufflePosition(NamedTuple):
    """The place up to which the shuffled rows were read."""

    shard: int = 0
    """Number of leading shards read to their end."""
    row: int = 0
    """Rows read of the next one."""


def read_batches(
    reader: ShardReader, seed: int, batch_size: int, start: ShufflePosition
) -> Iterator[tuple[npt.NDArray[Any], ShufflePosition]]:
    """Stored values of one batch after the other [B, D], across shard borders, and how far was read with each.

    Starts at `start`; rows after the last whole batch are left out.
    """
    pieces: list[npt.NDArray[Any]] = []
    missing, row = batch_size, start.row
    for shard, rows in enumerate(reader.shuffled(seed, skip=start.shard), start.shard):
        while row < len(rows.values_ND):
            pieces.append(rows.values_ND[row : row + missing])
            row += len(pieces[-1])
            missing -= len(pieces[-1])
            if missing == 0:
                yield np.concatenate(pieces), ShufflePosition(shard, row)
                pieces, missing = [], batch_size
        row = 0
