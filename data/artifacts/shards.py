"""Activation shards: an exact uniform shuffle of all kept rows for one write and one read.

Each row draws a shard uniformly and is appended to it; shards are read whole, in random order, each permuted in memory.
Appending keeps the order of harvest inside every shard, so the same files can also be merged back into that order
without ever holding more than a few rows per shard.

    shard-00000.rows    64-byte header (see SHARD_HEADER), then rows of `width` values: bfloat16 bits or int8
    shard-00000.index   one ROW per row, in the same order
    scales.npy          with int8 only: value = stored * scale, one float32 per dimension

Shapes: N rows, D width.
"""

import resource
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from data import ARTIFACT_VERSION
from data.errors import ArtifactError, ContractError, StorageError

Storage = Literal["bfloat16", "int8"]

ROW = np.dtype([("document_id", "<i8"), ("position", "<i4"), ("sequence", "<i4")])
"""Names the token of a row: `position` inside its document, `sequence` that the model read it in."""

SHARD_HEADER = np.dtype(
    [("magic", "S8"), ("contract", "<u4"), ("shard", "<u4"), ("width", "<u4"), ("storage", "S12"), ("key", "S28")]
)
MAGIC = b"MONOSEMA"
SCALES_FILE = "scales.npy"
STORED: dict[Storage, np.dtype[Any]] = {"bfloat16": np.dtype("<u2"), "int8": np.dtype("i1")}
MEND = "delete the artifact's folder and run `monosema harvest` again"
OTHER_OPEN_FILES = 256
"""File descriptors left to everything that is not a shard."""


class ShardRows(NamedTuple):
    """Some stored rows, int8 or uint16: bfloat16 comes as its bits, since NumPy has no such type."""

    values_ND: npt.NDArray[Any]
    index_N: np.ndarray
    """Of dtype ROW."""


def shard_path(folder: Path, shard: int) -> Path:
    """The file of a shard's values."""
    return folder / f"shard-{shard:05d}.rows"


def index_path(folder: Path, shard: int) -> Path:
    """The file that names a shard's rows."""
    return folder / f"shard-{shard:05d}.index"


class ShardWriter:
    """Appends rows to shards drawn at random. A writer that was killed resumes from the counts it last gave.

    `key` names the artifact, so that a shard of another run is recognised. Raises ArtifactError when a shard holds
    less than those counts, StorageError when the system does not allow as many open files as there are shards.
    """

    def __init__(
        self,
        folder: Path,
        *,
        key: str,
        num_shards: int,
        width: int,
        storage: Storage,
        seed: int,
        rows_written: Sequence[int] | None = None,
    ) -> None:
        self.dtype = STORED[storage]
        self.seed = seed
        self.rows_written = list(rows_written) if rows_written is not None else [0] * num_shards
        _allow_open_files(2 * len(self.rows_written))
        self._rows: list[BinaryIO] = []
        self._index: list[BinaryIO] = []
        try:
            for shard, count in enumerate(self.rows_written):
                header = np.array((MAGIC, ARTIFACT_VERSION, shard, width, storage.encode(), key.encode()), SHARD_HEADER)
                size = SHARD_HEADER.itemsize + count * width * self.dtype.itemsize
                self._rows.append(_open_at(shard_path(folder, shard), header.tobytes(), size))
                self._index.append(_open_at(index_path(folder, shard), b"", count * ROW.itemsize))
        except BaseException:
            self.close()
            raise

    def append(self, values_ND: npt.NDArray[Any], index_N: np.ndarray, batch: int) -> None:
        """Append rows of one batch; `batch` is its number, from which (with the seed) the shards are drawn."""
        assert values_ND.dtype == self.dtype, f"rows of {values_ND.dtype} in a store of {self.dtype}"
        num_shards = len(self.rows_written)
        shard_N = np.random.default_rng([self.seed, batch]).integers(0, num_shards, len(index_N))
        order_N = np.argsort(shard_N, kind="stable")
        counts = np.bincount(shard_N, minlength=num_shards)
        values_ND, index_N = values_ND[order_N], index_N[order_N]
        stop = 0
        for shard, count in enumerate(counts.tolist()):
            start, stop = stop, stop + count
            self._rows[shard].write(values_ND[start:stop].data)
            self._index[shard].write(index_N[start:stop].tobytes())
            self.rows_written[shard] += count

    def flush(self) -> list[int]:
        """Push everything to the system; the counts returned are what a later writer may go on from."""
        for file in (*self._rows, *self._index):
            file.flush()
        return list(self.rows_written)

    def close(self) -> None:
        for file in (*self._rows, *self._index):
            file.close()


def _open_at(path: Path, header: bytes, size: int) -> BinaryIO:
    """Open for appending at `size` bytes, cutting off what a killed writer left behind that."""
    size = max(size, len(header))
    if size <= len(header):
        new = path.open("wb")
        new.write(header)
        return new
    found = path.stat().st_size if path.exists() else 0
    if found < size:
        raise ArtifactError(f"{path} lost its end ({found:,} of {size:,} bytes): {MEND}")
    file = path.open("r+b")
    file.truncate(size)
    file.seek(0, 2)
    return file


def _allow_open_files(number: int) -> None:
    """Raise the process's own limit of open files, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = number + OTHER_OPEN_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise StorageError(
            f"{number:,} files must be open at once, the system allows {hard:,}: lower harvest.num_shards"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@dataclass(frozen=True)
class ShardReader:
    """Reads the shards of one artifact, shuffled or in the order of harvest.

    Raises ArtifactError for a shard that is missing, truncated or of another artifact than `key`.
    """

    folder: Path
    key: str
    width: int
    storage: Storage
    rows_per_shard: tuple[int, ...]

    def __post_init__(self) -> None:
        _allow_open_files(2 * len(self.rows_per_shard))
        for shard in range(len(self.rows_per_shard)):
            self._check(shard)

    def __len__(self) -> int:
        return sum(self.rows_per_shard)

    @cached_property
    def scales_D(self) -> npt.NDArray[np.float32] | None:
        """With int8, what each dimension is multiplied by."""
        return np.load(self.folder / SCALES_FILE) if self.storage == "int8" else None

    def shard(self, shard: int) -> ShardRows:
        """One shard, memory-mapped, in the order in which it was written."""
        shape = (self.rows_per_shard[shard], self.width)
        if shape[0] == 0:
            return ShardRows(np.empty(shape, STORED[self.storage]), np.empty(0, ROW))
        values_ND = np.memmap(
            shard_path(self.folder, shard), STORED[self.storage], mode="r", offset=SHARD_HEADER.itemsize, shape=shape
        )
        return ShardRows(values_ND, np.memmap(index_path(self.folder, shard), ROW, mode="r"))

    def shuffled(self, seed: int, *, skip: int = 0) -> Iterator[ShardRows]:
        """All rows once, a shard at a time in random order, each permuted in memory; `skip` leading shards left out."""
        order = np.random.default_rng([seed, len(self.rows_per_shard)]).permutation(len(self.rows_per_shard))
        for shard in order[skip:].tolist():
            values_ND, index_N = self.shard(shard)
            permutation_N = np.random.default_rng([seed, shard]).permutation(len(index_N))
            yield ShardRows(np.asarray(values_ND)[permutation_N], index_N[permutation_N])

    def in_order(self, rank_S: npt.NDArray[np.int64], batches: Sequence[tuple[int, int]]) -> Iterator[ShardRows]:
        """Rows in the order of harvest, one item for each range [start, stop) of ranks in `batches`, ascending.

        rank_S: for every sequence number, its place in the harvest. Rows come sorted by rank, then position. Memory
        is that of the rows of one item.
        """
        shards = [self.shard(shard) for shard in range(len(self.rows_per_shard))]
        cursors = [0] * len(shards)
        for start, stop in batches:
            cursors = [_first_of_rank(rows, rank_S, start, low) for rows, low in zip(shards, cursors, strict=True)]
            ends = [_first_of_rank(rows, rank_S, stop, low) for rows, low in zip(shards, cursors, strict=True)]
            index_N = np.concatenate([rows.index_N[a:b] for rows, a, b in zip(shards, cursors, ends, strict=True)])
            values_ND = np.concatenate([rows.values_ND[a:b] for rows, a, b in zip(shards, cursors, ends, strict=True)])
            order_N = np.lexsort((index_N["position"], rank_S[index_N["sequence"]]))
            yield ShardRows(values_ND[order_N], index_N[order_N])
            cursors = ends

    def _check(self, shard: int) -> None:
        path = shard_path(self.folder, shard)
        try:
            header = np.fromfile(path, SHARD_HEADER, count=1)
            index_bytes = index_path(self.folder, shard).stat().st_size
        except FileNotFoundError as error:
            raise ArtifactError(f"{error.filename} is missing: {MEND}") from None
        if len(header) == 0 or header["magic"][0] != MAGIC:
            raise ArtifactError(f"{path} is not an activation shard: {MEND}")
        if header["contract"][0] != ARTIFACT_VERSION:
            raise ContractError(
                f"{path} is of artifact version {header['contract'][0]}, not {ARTIFACT_VERSION}: {MEND}"
            )
        found = (header["key"][0].decode(), int(header["shard"][0]), int(header["width"][0]))
        if found != (self.key, shard, self.width) or header["storage"][0].decode() != self.storage:
            raise ArtifactError(f"{path} belongs to another run (key {found[0]}, here {self.key}): {MEND}")
        expected = SHARD_HEADER.itemsize + self.rows_per_shard[shard] * self.width * STORED[self.storage].itemsize
        if path.stat().st_size != expected or index_bytes != self.rows_per_shard[shard] * ROW.itemsize:
            raise ArtifactError(f"{path} is truncated ({path.stat().st_size:,} of {expected:,} bytes): {MEND}")


def _first_of_rank(rows: ShardRows, rank_S: npt.NDArray[np.int64], rank: int, low: int) -> int:
    """Number of the first row of a shard, from `low` on, whose sequence has at least this rank."""
    sequence_N = rows.index_N["sequence"]
    return bisect_left(range(len(sequence_N)), rank, lo=low, key=lambda row: int(rank_S[sequence_N[row]]))
