"""JSON: lines of which each is one document, or a file that holds a list of them; plain or compressed.

.jsonl, .ndjson   one object, or one string, a line
.json             a list of objects or strings; one object after the other; one object that holds one list of
                  objects, such as {"data": [...]}; or one object that is a document itself

Of conversations, a list of messages may stand for the object that holds it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from data.errors import CorpusError
from pipeline.corpus.compressed import open_lines
from pipeline.corpus.conversations import Fields
from pipeline.corpus.document import Document, State, make_document, make_record
from pipeline.corpus.encoding import BYTE_ORDER_MARK, TextBlocks, first_wrong_byte, refuse_encodings
from pipeline.corpus.files import FileKinds, name_in, plain_name
from pipeline.corpus.json_values import parse_json, read_values
from pipeline.corpus.record_files import RecordFiles
from pipeline.recipe import CorpusConfig

JSON_FILES = FileKinds((".jsonl", ".ndjson", ".json"))


class JsonLines(RecordFiles):
    """Every such file below a folder, or one. Blank lines are passed over."""

    start: ClassVar[State] = {"file": 0, "line": 0, "offset": 0}
    """`line`: of a .json file, the number of its record."""

    def __init__(self, path: Path, config: CorpusConfig) -> None:
        super().__init__(path, config, JSON_FILES, "JSON")
        self._fields, self._bad_encoding = Fields.of(config), config.bad_encoding

    def _records_of(self, file: Path) -> Iterator[Document]:
        return self._values_of(file) if _is_whole(file) else self._lines_of(file)

    def _lines_of(self, file: Path) -> Iterator[Document]:
        with open_lines(file, self._place["offset"]) as lines:
            for line in lines:
                self._place["line"] += 1
                self._place["offset"] += len(line)
                text = self._decoded(line)
                if text.strip(" \t\r\n"):
                    yield self._document(file, parse_json(text, f"{file}, line {self._place['line']}"))

    def _decoded(self, line: bytes) -> str:
        """A line as text; "" for one that is skipped."""
        line = line.removeprefix(BYTE_ORDER_MARK)
        try:
            return line.decode()
        except UnicodeDecodeError:
            if self._bad_encoding == "refuse":
                raise refuse_encodings(self.path, self._files) from None
            self.counts["bad_encodings"] += 1
            return line.decode(errors="replace") if self._bad_encoding == "replace" else ""

    def _values_of(self, file: Path) -> Iterator[Document]:
        done, is_bad = self._place["line"], False
        if self._bad_encoding != "refuse" and first_wrong_byte(file) is not None:
            is_bad = True
            self.counts["bad_encodings"] += done == 0
            if self._bad_encoding == "skip":
                return
        try:
            values = read_values(TextBlocks(file, replace=is_bad), self._fields, str(file))
            for number, value in enumerate(values, 1):
                if number > done:
                    self._place["line"] = number
                    yield self._document(file, value)
        except UnicodeDecodeError:
            raise refuse_encodings(self.path, self._files) from None

    def _document(self, file: Path, value: Any) -> Document:
        number = self._place["line"]
        place = f"{name_in(self.path, file)}:{number}"
        if isinstance(value, list) and self._fields.has_chats:
            value = {self._fields.names[0]: value}
        if isinstance(value, str) and not self._fields.has_chats:
            return make_document("jsonl", place, place, value)
        if not isinstance(value, dict):
            what = "record" if _is_whole(file) else "line"
            raise CorpusError(
                f"{file}, {what} {number}: not a JSON object but {type(value).__name__}: fix or remove that {what}"
            )
        return make_record("jsonl", place, place, value, self._fields)


def _is_whole(file: Path) -> bool:
    """Whether a file is JSON as a whole, rather than line by line."""
    return plain_name(file.name).endswith(".json")
