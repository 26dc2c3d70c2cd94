"""Harvested rows as they are read: whole shards, and batches across their borders."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.artifacts.shards import ShardReader, ShardRows
from data.layout import RunPaths
from data.manifests import require_stage
from pipeline.models.left_out import row_norms

SCALE_ROWS = 1 << 16
"""On which the scale of activations is measured where the files of an SAE lack it."""


def harvested_rows(paths: RunPaths) -> ShardReader:
    """The activation shards of a run. Raises ArtifactError when they are missing, damaged or of another run."""
    manifest = require_stage(paths, "harvest")
    counts = manifest.counts
    rows_per_shard = tuple(counts["rows_per_shard"])
    return ShardReader(paths.stage("harvest"), manifest.key, counts["width"], counts["storage"], rows_per_shard)


def as_tensor(values_ND: npt.NDArray[np.uint16]) -> Tensor:
    """Stored bfloat16 bits as a bfloat16 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values_ND).view(np.int16)).view(torch.bfloat16)


def mean_norm_scale(reader: ShardReader) -> float:
    """sqrt(width) by the mean norm of rows of the largest shard: some SAEs were trained on activations times this."""
    rows_ND = reader.shard(int(np.argmax(reader.rows_per_shard))).values_ND[:SCALE_ROWS]
    x_ND = as_tensor(rows_ND) if reader.scales_D is None else torch.from_numpy(rows_ND * reader.scales_D)
    return float(reader.width**0.5 / row_norms(x_ND).mean())


class ShufflePosition(NamedTuple):
    """The place up to which the shuffled rows were read."""

    shard: int = 0
    """Number of leading shards read to their end."""
    row: int = 0
    """Rows read of the next one."""
    epoch: int = 0
    """Readings of all rows that are over."""


def read_batches(
    reader: ShardReader, seed: int, batch_size: int, start: ShufflePosition, epochs: int = 1
) -> Iterator[tuple[npt.NDArray[Any], ShufflePosition]]:
    """Stored values of one batch after the other [B, D], and how far was read with each.

    Starts at `start`. Every epoch reads all rows in an order of its own; batches go across the borders of shards and
    epochs, and rows after the last whole batch are left out.
    """
    pieces: list[npt.NDArray[Any]] = []
    missing, row = batch_size, start.row
    for epoch, shard, rows in _shuffled_shards(reader, seed, start, epochs):
        while row < len(rows.values_ND):
            pieces.append(rows.values_ND[row : row + missing])
            row += len(pieces[-1])
            missing -= len(pieces[-1])
            if missing == 0:
                yield np.concatenate(pieces), ShufflePosition(shard, row, epoch)
                pieces, missing = [], batch_size
        row = 0


def _shuffled_shards(
    reader: ShardReader, seed: int, start: ShufflePosition, epochs: int
) -> Iterator[tuple[int, int, ShardRows]]:
    """The shards of every epoch that are not read to their end: number of the epoch, place in its order, rows."""
    for epoch in range(start.epoch, epochs):
        skip = start.shard if epoch == start.epoch else 0
        for shard, rows in enumerate(reader.shuffled(seed_of_epoch(seed, epoch), skip=skip), skip):
            yield epoch, shard, rows


def seed_of_epoch(seed: int, epoch: int) -> int:
    """The seed of an epoch's shuffle; the first has the run's own."""
    return seed if epoch == 0 else int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
