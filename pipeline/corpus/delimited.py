"""Tables as text (.csv, .tsv), plain or compressed: one row is one document. The first row names the columns."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, ClassVar

from data.errors import CorpusError
from pipeline.corpus.compressed import open_lines
from pipeline.corpus.document import Document, State, make_document, take_text
from pipeline.corpus.encoding import BYTE_ORDER_MARK, refuse_encodings
from pipeline.corpus.files import FileKinds, name_in, plain_name
from pipeline.corpus.record_files import RecordFiles
from pipeline.recipe import CorpusConfig

CSV_FILES = FileKinds((".csv", ".tsv"))
DELIMITERS = (",", ";", "\t")
"""Of a .csv the one that its first line has most of."""
LONGEST_FIELD = 1 << 26
"""Characters."""
MORE = "more"
"""Key of what a row has beyond the columns."""


class DelimitedFiles(RecordFiles):
    """Every .csv and .tsv file below a folder, or one such file."""

    start: ClassVar[State] = {"file": 0, "row": 0}

    def __init__(self, path: Path, config: CorpusConfig) -> None:
        super().__init__(path, config, CSV_FILES, "tables")
        self.text_field, self._bad_encoding = config.text_field, config.bad_encoding
        self._is_bad = False
        """Whether a line of the row that is being read is not UTF-8."""
        csv.field_size_limit(LONGEST_FIELD)

    def _records_of(self, file: Path) -> Iterator[Document]:
        name, done = name_in(self.path, file), self._place["row"]
        with open_lines(file, 0) as plain:
            lines = self._lines(plain)
            header = next(lines, "")
            self._is_bad = False
            rows = csv.DictReader(_behind(header, lines), delimiter=_delimiter(file, header), restkey=MORE, strict=True)
            line = 1
            try:
                for number, record in enumerate(rows, 1):
                    if number > done and self._is_kept():
                        place = f"{name}:{number}"
                        text, meta = take_text(record, self.text_field, place)
                        self._place["row"] = number
                        yield make_document("csv", place, place, text, meta)
                    self._is_bad, line = False, rows.line_num
            except csv.Error as error:
                raise CorpusError(
                    f"{file}, line {line + 1}: not a row of a table ({error}): fix or remove that line"
                ) from None

    def _is_kept(self) -> bool:
        """Whether the row that was read is a document; what is not UTF-8 is counted."""
        self.counts["bad_encodings"] += self._is_bad
        return not (self._is_bad and self._bad_encoding == "skip")

    def _lines(self, plain: BinaryIO) -> Iterator[str]:
        for number, line in enumerate(plain):
            if number == 0:
                line = line.removeprefix(BYTE_ORDER_MARK)
            try:
                yield line.decode()
            except UnicodeDecodeError:
                if self._bad_encoding == "refuse":
                    raise refuse_encodings(self.path, self._files) from None
                self._is_bad = True
                yield line.decode(errors="replace")


def _behind(first: str, lines: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from lines


def _delimiter(file: Path, header: str) -> str:
    if plain_name(file.name).endswith(".tsv"):
        return "\t"
    return max(DELIMITERS, key=header.count)
