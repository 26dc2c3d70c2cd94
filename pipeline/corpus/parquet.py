"""Parquet files, read a few rows at a time: one row is one document."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import CorpusError
from pipeline.corpus.document import Document, Source, State, make_document, take_text
from pipeline.corpus.files import find_files, name_in

PARQUET_SUFFIXES = (".parquet",)
ROWS_AT_ONCE = 256


class ParquetFiles(Source):
    """Every .parquet file below a folder, or one such file."""

    def __init__(self, path: Path, text_field: str) -> None:
        self.path = path
        self.text_field = text_field
        self.name = f"parquet files in {path.name}"
        self._files = find_files(path, PARQUET_SUFFIXES)
        self._state: State = {"file": 0, "row": 0}

    def documents(self, state: State | None = None) -> Iterator[Document]:
        self._state = dict(state) if state else {"file": 0, "row": 0}
        for number in range(self._state["file"], len(self._files)):
            if number != self._state["file"]:
                self._state = {"file": number, "row": 0}
            yield from self._documents_of(self._files[number])

    def state(self) -> State:
        return dict(self._state)

    def _documents_of(self, file: Path) -> Iterator[Document]:
        name = name_in(self.path, file)
        try:
            with pq.ParquetFile(file) as parquet:
                for batch, skip in _batches_from(parquet, self._state["row"]):
                    for record in batch.slice(skip).to_pylist():
                        place = f"{name}:{self._state['row']}"
                        self._state["row"] += 1
                        text, meta = take_text(record, self.text_field, place)
                        yield make_document("parquet", place, place, text, meta)
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
