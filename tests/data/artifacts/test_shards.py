import resource
from pathlib import Path

import numpy as np
import pytest

from data.artifacts.shards import ROW, SHARD_HEADER, ShardReader, ShardWriter, index_path, shard_path
from data.errors import ArtifactError, ContractError, StorageError

WIDTH, NUM_SHARDS = 3, 4


def harvest(num_sequences: int = 60, length: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Rows that hold their own number, of sequences harvested in a scrambled order."""
    order_S = np.random.default_rng(0).permutation(num_sequences)
    index_N = np.empty(num_sequences * length, ROW)
    index_N["sequence"] = np.repeat(order_S, length)
    index_N["position"] = np.tile(np.arange(length), num_sequences)
    index_N["document_id"] = 1000 + index_N["sequence"]
    return order_S, index_N


def values_of(index_N: np.ndarray) -> np.ndarray:
    number = index_N["sequence"] * 25 + index_N["position"]
    return np.stack([number, number + 1, number + 2], 1).astype("<u2")


def writer(folder: Path, **options) -> ShardWriter:
    chosen = {"key": "abc", "num_shards": NUM_SHARDS, "width": WIDTH, "storage": "bfloat16", "seed": 7} | options
    return ShardWriter(folder, **chosen)


def write(folder: Path, index_N: np.ndarray, batch_rows: int = 100, **options) -> tuple[int, ...]:
    shards = writer(folder, **options)
    for batch, start in enumerate(range(0, len(index_N), batch_rows)):
        rows = index_N[start : start + batch_rows]
        shards.append(values_of(rows), rows, batch)
    shards.close()
    return tuple(shards.rows_written)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, tuple[int, ...], np.ndarray, np.ndarray]:
    order_S, index_N = harvest()
    return tmp_path, write(tmp_path, index_N), order_S, index_N


def reader(folder: Path, counts: tuple[int, ...], **options) -> ShardReader:
    return ShardReader(
        folder, **({"key": "abc", "width": WIDTH, "storage": "bfloat16", "rows_per_shard": counts} | options)
    )


def test_every_row_comes_once_with_its_own_values(stored):
    folder, counts, _, index_N = stored
    parts = list(reader(folder, counts).shuffled(seed=1))
    got = np.concatenate([rows.index_N for rows in parts])
    assert np.array_equal(np.sort(got), np.sort(index_N))
    assert np.array_equal(np.concatenate([rows.values_ND for rows in parts]), values_of(got))
    assert len(reader(folder, counts)) == len(index_N)


def test_shuffle_goes_on_after_shards_already_read(stored):
    folder, counts, _, _ = stored
    whole = list(reader(folder, counts).shuffled(seed=1))
    rest = list(reader(folder, counts).shuffled(seed=1, skip=3))
    assert len(rest) == 1
    assert np.array_equal(rest[0].index_N, whole[3].index_N)


def test_shuffle_is_uniform(tmp_path):
    """From which tenth of the harvest to which tenth of the training order rows go: chi-square over the 100 cells."""
    _, index_N = harvest(200, 25)
    number = {row.tobytes(): place for place, row in enumerate(index_N)}
    tenth_N = np.arange(len(index_N)) * 10 // len(index_N)
    cells = np.zeros((10, 10))
    for seed in range(10):
        counts = write(tmp_path, index_N, seed=seed)
        got = np.concatenate([rows.index_N for rows in reader(tmp_path, counts).shuffled(seed)])
        np.add.at(cells, (tenth_N[[number[row.tobytes()] for row in got]], tenth_N), 1)
    expected = cells.sum() / cells.size
    degrees = 81  # both margins are fixed
    assert ((cells - expected) ** 2 / expected).sum() < degrees + 4 * np.sqrt(2 * degrees)


def test_in_order_gives_back_the_harvest(stored):
    folder, counts, order_S, index_N = stored
    rank_S = np.argsort(order_S)
    ranges = [(0, 7), (7, 8), (10, 60)]
    for rows, (start, stop) in zip(reader(folder, counts).in_order(rank_S, ranges), ranges, strict=True):
        assert np.array_equal(rows.index_N, index_N[start * 25 : stop * 25])
        assert np.array_equal(rows.values_ND, values_of(rows.index_N))


def test_a_killed_writer_goes_on_where_it_flushed(tmp_path):
    _, index_N = harvest()
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    write(tmp_path / "whole", index_N)
    first = writer(tmp_path / "killed")
    first.append(values_of(index_N[:100]), index_N[:100], 0)
    counts = first.flush()
    first.append(values_of(index_N[100:150]), index_N[100:150], 1)
    first.close()
    second = writer(tmp_path / "killed", rows_written=counts)
    for batch, start in enumerate(range(100, len(index_N), 100), start=1):
        second.append(values_of(index_N[start : start + 100]), index_N[start : start + 100], batch)
    second.close()
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "killed" / path.name).read_bytes()


def test_a_writer_refuses_shards_that_lost_their_end(stored):
    folder, counts, _, _ = stored
    with shard_path(folder, 1).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ArtifactError, match="lost its end"):
        writer(folder, rows_written=counts)


@pytest.mark.parametrize("path", [shard_path, index_path])
def test_a_truncated_shard_is_refused(stored, path):
    folder, counts, _, _ = stored
    with path(folder, 2).open("r+b") as file:
        file.truncate(path(folder, 2).stat().st_size - 1)
    with pytest.raises(ArtifactError, match=r"is truncated .* run `monosema harvest` again"):
        reader(folder, counts)


@pytest.mark.parametrize("options", [{"key": "xyz"}, {"width": 5}, {"storage": "int8"}])
def test_a_foreign_shard_is_refused(stored, options):
    folder, counts, _, _ = stored
    with pytest.raises(ArtifactError, match="belongs to another run"):
        reader(folder, counts, **options)


def test_a_shard_of_another_contract_is_refused(stored):
    folder, counts, _, _ = stored
    header = np.fromfile(shard_path(folder, 0), SHARD_HEADER, count=1)
    header["contract"] = 99
    with shard_path(folder, 0).open("r+b") as file:
        file.write(header.tobytes())
    with pytest.raises(ContractError, match="artifact version 99"):
        reader(folder, counts)


def test_what_is_no_shard_is_refused(stored):
    folder, counts, _, _ = stored
    shard_path(folder, 0).write_bytes(b"something else")
    with pytest.raises(ArtifactError, match="not an activation shard"):
        reader(folder, counts)
    shard_path(folder, 0).unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        reader(folder, counts)


def test_too_many_shards_for_the_system_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 1024))
    with pytest.raises(StorageError, match=r"lower harvest\.num_shards"):
        writer(tmp_path, num_shards=500)
