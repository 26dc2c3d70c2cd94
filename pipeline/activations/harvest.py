"""The harvest itself: the activations of every training sequence, shuffled into shards, resumable.

Of several hooks each has shards of its own, and the model reads the corpus once for all of them.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.artifacts.shards import ROW, SCALES_FILE, STORED, ShardWriter
from data.errors import StorageError
from pipeline.activations.calibration import Calibration
from pipeline.activations.moments import Moments
from pipeline.activations.residuals import LEFT_OUT_FILE, MOMENTS_FILE, ResidualBlock
from pipeline.arrays import GOLDEN, Ints, hash_tokens, pack_tokens, splitmix64
from pipeline.models.left_out import are_sinks
from pipeline.progress import track
from pipeline.stage import Work

CALIBRATION_TOKENS = 8192
"""The first batches, with at least this many tokens, set the rule for sinks and the int8 scales."""
HARVEST_CHECKPOINT_SECONDS = 10.0
DISK_RESERVE = 1.02
CALIBRATION_FILE = ".calibration.npz"
HARVEST_CHECKPOINT = ".checkpoint.npz"
LEFT_OUT_SCRATCH = ".left_out"


@dataclass
class HarvestCounts:
    """The batches and tokens that a harvest has been through."""

    num_batches: int = 0
    num_tokens: int = 0
    num_left_out: int = 0
    num_clipped: int = 0


class Harvest:
    """One hook's harvest, from where an earlier attempt stopped to its end. A context, so that its files are closed."""

    def __init__(self, work: Work, width: int) -> None:
        self.work, self.width, self.config = work, width, work.recipe.harvest
        self.bos_id: int | None = work.inputs["tokenize"].counts["bos_id"]
        self.counts, self.moments = HarvestCounts(), Moments(width)
        self.rows_per_shard = [0] * self.config.num_shards
        self.calibration: Calibration | None = None
        if work.resumed and (work.folder / HARVEST_CHECKPOINT).exists():
            self._restore()
        if work.resumed and (work.folder / CALIBRATION_FILE).exists():
            self.calibration = Calibration.load(work.folder / CALIBRATION_FILE)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        folder, config = self.work.folder, self.config
        self._writer = ShardWriter(
            folder, key=self.work.key, num_shards=config.num_shards, width=self.width, storage=config.storage,
            seed=self.work.recipe.seed, rows_written=self.rows_per_shard,
        )  # fmt: skip
        self._stack.enter_context(closing(self._writer))
        self._left_out = self._stack.enter_context((folder / LEFT_OUT_SCRATCH).open("ab"))
        self._left_out.truncate(self.counts.num_left_out * ROW.itemsize)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def finish(self) -> dict[str, Any]:
        """Write what belongs beside the shards, and say what was harvested."""
        folder, counts, num_rows = self.work.folder, self.counts, sum(self.rows_per_shard)
        calibration = Calibration.load(folder / CALIBRATION_FILE)
        np.save(folder / LEFT_OUT_FILE, np.fromfile(folder / LEFT_OUT_SCRATCH, ROW))
        np.savez(folder / MOMENTS_FILE, mean_D=self.moments.mean_D, rms=np.float64(self.moments.rms))
        if self.config.storage == "int8":
            np.save(folder / SCALES_FILE, calibration.scales_D)
        return {
            "num_rows": num_rows,
            "num_tokens": counts.num_tokens,
            "num_left_out": counts.num_left_out,
            "rows_per_shard": self.rows_per_shard,
            "width": self.width,
            "storage": self.config.storage,
            "bos_id": self.bos_id,
            "sink_threshold": calibration.threshold,
            "clipped_share": counts.num_clipped / max(num_rows * self.width, 1),
        }

    def calibrate(self, blocks: Sequence[ResidualBlock]) -> None:
        """Measure what holds for all rows on the first ones, unless an earlier attempt did."""
        if self.calibration is None:
            self.calibration = Calibration.measure(torch.cat([block.x_ND for block in blocks]), self.config.sink_factor)
            self.calibration.save(self.work.folder / CALIBRATION_FILE)

    def store(self, block: ResidualBlock) -> None:
        """Append the rows of one batch that are kept, and count them."""
        calibration = self.calibration
        assert calibration is not None, "measured before anything is stored"
        sink_N = are_sinks(block.x_ND, calibration.threshold).cpu().numpy()
        drawn_N = draw_tokens(block.index_N, self.work.recipe.seed, self.config.keep_fraction)
        kept_N = np.flatnonzero(drawn_N & ~sink_N)
        x_ND = block.x_ND if len(kept_N) == len(block.index_N) else block.x_ND[torch.from_numpy(kept_N)]
        self.moments.add(x_ND)
        values_ND, num_clipped = _stored(x_ND, calibration, self.config.storage)
        self._writer.append(values_ND, block.index_N[kept_N], self.counts.num_batches)
        self._left_out.write(block.index_N[sink_N].tobytes())
        self.counts.num_batches += 1
        self.counts.num_tokens += len(block.index_N)
        self.counts.num_left_out += int(sink_N.sum())
        self.counts.num_clipped += num_clipped

    def checkpoint(self) -> None:
        """Record how far it is, after everything up to there was handed to the system."""
        self.rows_per_shard = self._writer.flush()
        self._left_out.flush()
        path = self.work.folder / HARVEST_CHECKPOINT
        temporary = path.with_suffix(".tmp.npz")
        counts = list(vars(self.counts).values())
        np.savez(temporary, rows_per_shard=self.rows_per_shard, tally=counts, **self.moments.state())
        temporary.replace(path)

    def _restore(self) -> None:
        with np.load(self.work.folder / HARVEST_CHECKPOINT) as saved:
            self.rows_per_shard = saved["rows_per_shard"].tolist()
            self.counts = HarvestCounts(*saved["tally"].tolist())
            self.moments.restore(int(saved["count"]), saved["mean_D"], float(saved["squares"]))

    def needed_bytes(self, num_tokens: int) -> int:
        """Of the rows that are still to be stored. num_tokens: of the corpus."""
        row_bytes = self.width * STORED[self.config.storage].itemsize + ROW.itemsize
        return int((num_tokens - self.counts.num_tokens) * self.config.keep_fraction * row_bytes * DISK_RESERVE)


def harvest_corpus(
    harvests: Sequence[Harvest],
    read: Callable[[list[Ints]], Iterator[list[ResidualBlock]]],
    batches: list[Ints],
    num_tokens: int,
) -> float:
    """Harvest every batch that is left, at all hooks; returns tokens per second, of this attempt alone.

    read: gives a block of each harvest for each of some batches. Raises StorageError when the disk is too small.
    """
    _check_room(harvests, num_tokens)
    least = min(harvests, key=lambda harvest: harvest.counts.num_batches).counts
    first, done = least.num_batches, least.num_tokens
    start = saved = time.monotonic()
    with track("harvest", num_tokens, done=done) as progress:
        for number, blocks in enumerate(_calibrated(harvests, read(batches[first:])), first):
            for harvest, block in zip(harvests, blocks, strict=True):
                if harvest.counts.num_batches == number:  # a kill may have left one ahead of the others
                    harvest.store(block)
            progress.advance(len(blocks[0].index_N))
            if time.monotonic() - saved > HARVEST_CHECKPOINT_SECONDS:
                _checkpoint(harvests)
                saved = time.monotonic()
    _checkpoint(harvests)
    return (num_tokens - done) / (time.monotonic() - start)


def _calibrated(harvests: Sequence[Harvest], blocks: Iterator[list[ResidualBlock]]) -> Iterator[list[ResidualBlock]]:
    """All of the blocks: the first ones are run to measure calibrations, where one is missing."""
    if all(harvest.calibration is not None for harvest in harvests):
        return blocks
    first: list[list[ResidualBlock]] = []
    for of_hooks in blocks:
        first.append(of_hooks)
        if sum(len(one[0].index_N) for one in first) >= CALIBRATION_TOKENS:
            break
    for harvest, of_hook in zip(harvests, zip(*first, strict=True), strict=True):
        harvest.calibrate(of_hook)
    return chain(first, blocks)


def _checkpoint(harvests: Sequence[Harvest]) -> None:
    for harvest in harvests:
        harvest.checkpoint()


def _check_room(harvests: Sequence[Harvest], num_tokens: int) -> None:
    """Raise StorageError when the rows of the tokens that are left do not fit on the disk."""
    paths = harvests[0].work.paths
    needed, free = sum(harvest.needed_bytes(num_tokens) for harvest in harvests), shutil.disk_usage(paths.root).free
    if needed > free:
        raise StorageError(
            f"the activations need {needed / 1e9:.1f} GB, there are {free / 1e9:.1f} GB free at "
            f"{paths.store.root}: make space, or lower harvest.keep_fraction or tokenize.max_tokens, "
            "or set harvest.storage=int8"
        )


def draw_tokens(index_N: np.ndarray, seed: int, fraction: float) -> npt.NDArray[np.bool_]:
    """Mask of the tokens that are kept [N]: a hash of seed, sequence and position, so that every run agrees."""
    hash_N = hash_tokens(pack_tokens(index_N["sequence"], index_N["position"]))
    with np.errstate(over="ignore"):
        mixed_N = splitmix64(hash_N + np.uint64(seed) * GOLDEN)
    return (mixed_N >> np.uint64(11)).astype(np.float64) < fraction * 2.0**53


def _stored(x_ND: Tensor, calibration: Calibration, storage: str) -> tuple[npt.NDArray[Any], int]:
    """Rows as they are stored, and how many values int8 cut off."""
    if storage == "int8":
        return calibration.quantise(x_ND)
    bits_ND = x_ND.to(torch.bfloat16).view(torch.int16).cpu().numpy().view(np.uint16)
    return bits_ND, 0
