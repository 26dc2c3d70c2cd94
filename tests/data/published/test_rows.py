from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.errors import ArtifactError
from data.published.rows import RowFile, copying, row_file_path

LENGTHS = [5, 1, 64, 30]
"""Rows of the batches."""
NUM_ROWS = sum(LENGTHS)
SCHEMA = pa.schema([("number", pa.int64()), ("words", pa.list_(pa.string())), ("maybe", pa.float32())])
TABLE = pa.table(
    {
        "number": range(NUM_ROWS),
        "words": [[f"word {row}"] * (row % 4) for row in range(NUM_ROWS)],
        "maybe": [None if row % 3 else row / 2 for row in range(NUM_ROWS)],
    },
    schema=SCHEMA,
)


@pytest.fixture
def file(tmp_path: Path) -> RowFile:
    starts = np.cumsum([0, *LENGTHS])[:-1].tolist()
    batches = [TABLE.slice(start, length).to_batches()[0] for start, length in zip(starts, LENGTHS, strict=True)]
    path = row_file_path(tmp_path, "things")
    passed = list(copying(path, SCHEMA, ["number", "words", "maybe"], batches))
    assert pa.Table.from_batches(passed) == TABLE
    return RowFile(path)


def test_rows_come_as_asked_for_over_the_borders_of_batches(file: RowFile) -> None:
    rng = np.random.default_rng(0)
    everything = TABLE.to_pylist()
    cases = [rng.integers(0, NUM_ROWS, size).tolist() for size in (1, 2, 40, 300)]
    for rows in [*cases, list(range(NUM_ROWS)), list(range(3, 9)), [6, 5, 5, 4], [NUM_ROWS - 1]]:
        found = file.take(rows, SCHEMA.names)
        assert found.to_pylist() == [everything[row] for row in rows]
        assert all(column.num_chunks == 1 for column in found.columns)
    assert file.take([7, 2], ["maybe", "number"]).to_pydict() == {"maybe": [None, None], "number": [7, 2]}
    assert len(file) == NUM_ROWS


def test_no_rows_have_the_columns(file: RowFile) -> None:
    assert file.take([], ["words"]).schema == pa.schema([SCHEMA.field("words")])


@pytest.mark.parametrize("row", [-1, NUM_ROWS])
def test_a_row_that_is_not_there_is_an_error(file: RowFile, row: int) -> None:
    with pytest.raises(AssertionError, match="lacks rows"):
        file.take([3, row], ["number"])


def test_only_the_columns_named_are_written(tmp_path: Path) -> None:
    path = row_file_path(tmp_path, "things")
    assert list(copying(path, SCHEMA, ["maybe"], TABLE.to_batches())) == TABLE.to_batches()
    file = RowFile(path)
    assert file.schema.names == ["maybe"]
    assert file.has(["maybe"])
    assert not file.has(["maybe", "number"])


def test_a_missing_or_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    path = row_file_path(tmp_path, "things")
    with pytest.raises(ArtifactError, match="run the stage again"):
        RowFile(path).take([0], ["number"])
    path.parent.mkdir()
    path.write_bytes(b"ARROW1\0\0 cut off")
    with pytest.raises(ArtifactError, match="run the stage again"):
        RowFile(path).take([0], ["number"])
