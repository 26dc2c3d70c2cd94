"""Parquet files, read a few rows at a time: one row is one document."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import CorpusError
from pipeline.corpus.conversations import Fields
from pipeline.corpus.document import Document, State, make_record
from pipeline.corpus.files import FileKinds, name_in
from pipeline.corpus.record_files import RecordFiles
from pipeline.recipe import CorpusConfig

PARQUET_FILES = FileKinds((".parquet",), compressed=False)
ROWS_AT_ONCE = 256


class ParquetFiles(RecordFiles):
    """Every .parquet file below a folder, or one such file."""

    start: ClassVar[State] = {"file": 0, "row": 0}

    def __init__(self, path: Path, config: CorpusConfig) -> None:
        super().__init__(path, config, PARQUET_FILES, "parquet files")
        self._fields = Fields.of(config)

    def _records_of(self, file: Path) -> Iterator[Document]:
        name = name_in(self.path, file)
        try:
            with pq.ParquetFile(file) as parquet:
                for batch, skip in _batches_from(parquet, self._place["row"]):
                    for record in batch.slice(skip).to_pylist():
                        place = f"{name}:{self._place['row']}"
                        self._place["row"] += 1
                        yield make_record("parquet", place, place, record, self._fields)
        except (pa.ArrowException, OSError) as error:
            raise CorpusError(f"{file} cannot be read as parquet ({error}): fetch it again, or take it out") from None


def _batches_from(parquet: pq.ParquetFile, row: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Batches from the row group that holds `row`, each with how many of its rows come before that row."""
    sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
    first = 0
    while first < len(sizes) and row >= sizes[first]:
        row -= sizes[first]
        first += 1
    if first == len(sizes):
        return
    for batch in parquet.iter_batches(ROWS_AT_ONCE, row_groups=list(range(first, len(sizes)))):
        skip = min(row, len(batch))
        row -= skip
        yield batch, skip
