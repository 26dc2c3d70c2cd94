"""JSON: lines of which each is one document, or a file that holds a list of them; plain or compressed.

.jsonl, .ndjson   one object, or one string, a line
.json             a list of objects or strings; one object after the other; one object that holds one list of
                  objects, such as {"data": [...]}; or one object that is a document itself

Of conversations, a list of messages may stand for the object that holds it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.errors import CorpusError
from pipeline.corpus.compressed import open_lines
from pipeline.corpus.conversations import Fields
from pipeline.corpus.document import Document, Source, State, make_document, make_record
from pipeline.corpus.encoding import BYTE_ORDER_MARK, TextBlocks, first_wrong_byte, refuse_encodings
from pipeline.corpus.files import FileKinds, find_files, name_in, plain_name
from pipeline.corpus.json_values import parse_json, read_values
from pipeline.recipe import CorpusConfig

JSON_FILES = FileKinds((".jsonl", ".ndjson", ".json"))
START: State = {"file": 0, "line": 0, "offset": 0}


class JsonLines(Source):
    """Every such file below a folder, or one. Blank lines are passed over."""

    def __init__(self, path: Path, config: CorpusConfig) -> None:
        super().__init__(config.max_document_characters)
        self.path, self._fields, self._bad_encoding = path, Fields.of(config), config.bad_encoding
        self.name = f"JSON in {path.name}"
        found = find_files(path, JSON_FILES)
        self._files, self.passed_over = found.files, found.describe_others()
        self._place: State = dict(START)
        """`line`: of a .json file, the number of its record."""

    def records(self, place: State | None) -> Iterator[Document]:
        self._place = dict(place or START)
        for number in range(self._place["file"], len(self._files)):
            if number != self._place["file"]:
                self._place = {**START, "file": number}
            file = self._files[number]
            yield from self._values_of(file) if _is_whole(file) else self._lines_of(file)

    def place(self) -> State:
        return dict(self._place)

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
